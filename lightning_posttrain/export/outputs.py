"""What running an exported model gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from lightning_posttrain.export.signature import Array


class Outputs(NamedTuple):
    """Answers of a model for some rows.

    Args:
        probabilities: calibrated; float32 ``(N, C, ...)`` by class, two columns of a binary task, ``(N, L, ...)`` by
            label.
        decision: int64; the class ``(N, ...)``, or -1 for no answer; of labels 0 or 1, ``(N, L, ...)``.
    """

    probabilities: Array
    decision: Array


Runner = Callable[[Mapping[str, Array]], Outputs]
"""From arrays by input, as ``Signature.of`` gives them, to the answers."""
