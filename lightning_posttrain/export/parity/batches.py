"""Whether a model answers batches of any size, and each row for itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from lightning_posttrain.core.output.first_line import first_line
from lightning_posttrain.export.outputs import Outputs, Runner
from lightning_posttrain.export.parity.difference import largest_difference
from lightning_posttrain.export.signature import Array

SIZES = (1, 2, 7, 64)
MOST_BATCHES = 8
"""Of one size."""
_SEED = 0
BAKED = (
    "The batch size is used as a number in the model: use -1 in `view` and `reshape`, no loop over rows and no `if` on "
    "`x.shape[0]`"
)


def check_batches(
    runner: Runner, reference: Outputs, rows: Mapping[str, Array], *, sizes: Sequence[int] = SIZES,
    allowed: float = 1e-4,
) -> tuple[str, ...]:  # fmt: skip
    """Run rows at several batch sizes, up to 8 batches of each, and in another order, and say what goes wrong.

    Args:
        runner: the exported model.
        reference: answers of the tested one for ``rows``, for their shapes.
        rows: by input, at least one; they are repeated where a batch is larger.
        sizes: of batches.
        allowed: what a probability of one row may differ by between sizes and orders, as ``Tolerance.largest``; int8
            may quantise a batch by its own range, so that rows do influence each other.

    Returns:
        Sentences without a full stop, none where all is well.
    """
    most = max(sizes)
    repeated = {name: array[np.arange(most) % len(array)] for name, array in rows.items()}
    found: dict[int, Array] = {}
    failed: dict[int, str] = {}
    for size in sizes:
        try:
            found[size] = _answers(runner, repeated, size, reference)
        except Exception as error:  # whatever a runtime raises is the finding
            failed[size] = first_line(error)
    if not found:
        return (f"it does not run: {next(iter(failed.values()))}",)
    if failed:
        return tuple(f"batch size {size} fails: {why}. {BAKED}" for size, why in failed.items())
    return (*_by_size(found, allowed), *_by_order(runner, repeated, found[most], allowed))


def _answers(runner: Runner, rows: Mapping[str, Array], size: int, reference: Outputs) -> Array:
    """Probabilities of the first rows, in whole batches of a size."""
    number = min(len(next(iter(rows.values()))) // size, MOST_BATCHES)
    batches = [runner({name: array[size * n : size * (n + 1)] for name, array in rows.items()}) for n in range(number)]
    for batch in batches:
        for name, got, wanted in zip(Outputs._fields, batch, reference, strict=True):
            if got.shape != (size, *wanted.shape[1:]):
                raise ValueError(f"`{name}` has shape {got.shape}, wanted {(size, *wanted.shape[1:])}")
    return np.concatenate([batch.probabilities for batch in batches])


def _by_size(found: Mapping[int, Array], allowed: float) -> list[str]:
    most = max(found)
    apart = {size: largest_difference(found[most][: len(some)], some) for size, some in found.items() if size != most}
    return [
        f"rows influence each other: at batch size {size} a probability differs by {value:.2g} from batch size {most}. "
        "Let no layer compute over the batch, as a batch norm in training mode does"
        for size, value in apart.items()
        if not value <= allowed
    ][:1]


def _by_order(runner: Runner, rows: Mapping[str, Array], wanted: Array, allowed: float) -> list[str]:
    order = np.random.default_rng(_SEED).permutation(len(wanted))
    found = runner({name: array[order] for name, array in rows.items()}).probabilities
    value = largest_difference(wanted[order], found)
    if value <= allowed:
        return []
    return [
        f"rows influence each other: in another order a probability differs by {value:.2g}. Let no layer use the place "
        "of a row in its batch"
    ]
