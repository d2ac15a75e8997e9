"""Bootstrap intervals from finished counts, without a second look at the data."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from lightning_posttrain.classification.functional.confusion import counts_of_cells
from lightning_posttrain.classification.result.confusion import ClassCounts, Confusion, LabelConfusion

LEVEL = 0.95
DRAWS = 1_000_000
"""Binomial draws at most; a matrix with many cells gets fewer replicates, but 100 at least."""
AT_ONCE = 1 << 18
"""Counts of replicates that figures are worked out from at a time, so that 100 of many classes take little memory."""
ROWS_A_CELL = 8
"""With fewer rows for each cell they are drawn one by one, which takes a tenth of the time of a binomial draw each."""
MOST_CELLS = 100_000
"""With more cells that are not zero there are no intervals: they would take seconds."""


def replicates(
    confusion: Confusion | LabelConfusion, resamples: int, seed: int = 0, *, classes: Tensor | None = None
) -> Iterator[ClassCounts]:
    """Counts ``(r, C)`` of as many rows drawn again, with replacement, from those that were counted, some at a time.

    To draw rows is to draw the cells of the matrix from a multinomial distribution (Efron, 1979,
    doi:10.1214/aos/1176344552). Labels of a multilabel task are drawn each by itself, as counts do not tell which of
    them came together: intervals of their means are too narrow where labels go together.

    Args:
        confusion: what was counted.
        resamples: ``R``, how many in all; less where the matrix has so many cells that it would take long.
        seed: of random numbers of its own; the same on every rank.
        classes: the classes whose counts are wanted, all that are in a cell, in order; None for all.
    """
    generator = np.random.default_rng(seed)
    if isinstance(confusion, LabelConfusion):
        cells = confusion.counts.flatten(1)
        drawn = np.stack([_draw(generator, label, resamples, len(cells)) for label in cells], axis=1)
        for labels in torch.split(torch.from_numpy(drawn).view(len(drawn), -1, 2, 2), max(1, AT_ONCE // len(cells))):
            yield ClassCounts(labels[..., 1, 1], labels[..., 0, 1], labels[..., 1, 0], labels[..., 0, 0])
        return
    place, count = confusion.cells
    number = len(confusion.class_names) if classes is None else len(classes)
    place = place if classes is None else torch.searchsorted(classes, place)
    drawn = _draw(generator, count, resamples, 1)
    for rows in torch.split(torch.from_numpy(drawn), max(1, AT_ONCE // number)):
        yield counts_of_cells(place, rows, number)


def seen_classes(confusion: Confusion | LabelConfusion) -> Tensor:
    """The classes ``(S,)`` that have rows or were predicted, in order; all labels. Others have no figure at all."""
    if isinstance(confusion, LabelConfusion):
        return torch.arange(len(confusion.counts))
    seen: Tensor = torch.unique(confusion.cells[0])
    return seen


def _draw(generator: np.random.Generator, count: Tensor, resamples: int, times: int) -> np.ndarray:
    rows = int(count.sum())
    number = max(min(resamples, DRAWS // (len(count) * times)), min(resamples, 100))
    if rows < ROWS_A_CELL * len(count):
        return _draw_rows(generator, count.numpy(), number)
    share = count.double().numpy() / max(rows, 1)
    share[share.argmax()] += 1 - share.sum()  # rounding must not leave the sum above one
    return generator.multinomial(rows, share, size=number).astype(np.float64)


def _draw_rows(generator: np.random.Generator, count: np.ndarray, number: int) -> np.ndarray:
    """The same draws ``(number, K)``, row by row."""
    cell = np.repeat(np.arange(len(count)), count)
    drawn = np.empty((number, len(count)))
    for one in drawn:
        one[:] = np.bincount(cell[generator.integers(len(cell), size=len(cell), dtype=np.int32)], minlength=len(count))
    return drawn


def can_resample(confusion: Confusion | LabelConfusion) -> bool:
    """Whether there is something to draw from, and not too much."""
    count = confusion.counts if isinstance(confusion, LabelConfusion) else confusion.cells[1]
    return int(count.sum()) > 0 and count.numel() <= MOST_CELLS


def interval(values: Tensor, level: float = LEVEL) -> Tensor:
    """Lower and upper end ``(2, ...)`` of the middle share of replicates ``(R, ...)``; those not defined are left out.

    Example:
        >>> interval(torch.arange(101.0), level=0.5).tolist()
        [25.0, 75.0]
    """
    ends = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=values.dtype)
    return torch.nanquantile(values, ends, dim=0)
