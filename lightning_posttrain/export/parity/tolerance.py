"""What an exported model may differ by."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, final, get_args

import numpy as np

from lightning_posttrain.export.outputs import Runner
from lightning_posttrain.export.parity.difference import largest_difference
from lightning_posttrain.export.signature import Array

Precision = Literal["float32", "half", "int8"]
LARGEST: Mapping[Precision, float] = {"float32": 1e-4, "half": 1e-2, "int8": math.inf}
"""Difference of a probability that is allowed, by precision; int8 is judged by what it costs."""
CHANGE: Mapping[Precision, float] = {"float32": 1e-3, "half": 1e-2, "int8": 1e-2}
"""Change of a figure of a report that is allowed, by precision."""
MOST_NOISE = 10
"""Times the usual tolerance that noise may raise it to."""
NOISE_ROWS = 64


def check_precision(precision: str) -> None:
    """Refuse what is no precision.

    Raises:
        ValueError: it is none.
    """
    if precision not in get_args(Precision):
        raise ValueError(f"`precision` is {precision!r}, wanted one of {', '.join(get_args(Precision))}.")


@final
@dataclass(frozen=True)
class Tolerance:
    """What an exported model may differ by.

    Float32 sums in another order for another batch size or kernel, so that a model differs from itself by 1e-7 to 1e-5
    in a probability. A tolerance below twice that would refuse models without a fault.

    Args:
        precision: of the exported model.
        largest: of any probability; infinite where the change of figures alone decides.
        change: of any figure of a report.
        noise: what the tested model differs from itself by.
        noisy: whether that is too much to be rounding.

    Example:
        >>> Tolerance.of("float32", noise=3e-7).largest, Tolerance.of("float32", noise=2e-4).largest
        (0.0001, 0.0004)
    """

    precision: Precision
    largest: float
    change: float
    noise: float = 0.0
    noisy: bool = False

    @classmethod
    def of(cls, precision: Precision, noise: float = 0.0) -> Tolerance:
        """By precision and noise.

        Args:
            precision: of the exported model.
            noise: as ``eager_noise`` gives it.

        Raises:
            ValueError: ``precision`` is none.
        """
        check_precision(precision)
        usual = LARGEST[precision]
        # the tested model computes in float32, whatever the exported one does; NaN is too much
        noisy = not 2 * noise <= MOST_NOISE * LARGEST["float32"]
        return cls(precision, usual if noisy else max(usual, 2 * noise), CHANGE[precision], noise, noisy)


def eager_noise(runner: Runner, rows: Mapping[str, Array]) -> float:
    """Largest difference of a probability between rows that are run together and one by one.

    Args:
        runner: the tested model.
        rows: by input, at least one; the first 64 are used.

    Returns:
        It, NaN where one of both is not finite and the other is.
    """
    some = {name: array[:NOISE_ROWS] for name, array in rows.items()}
    together = runner(some).probabilities
    each = [
        runner({name: array[n : n + 1] for name, array in some.items()}).probabilities for n in range(len(together))
    ]
    alone = np.concatenate(each)
    return largest_difference(together, alone)
