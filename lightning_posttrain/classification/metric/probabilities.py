"""Sums over the probabilities of each row: losses, ranks, reliability."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

import torch
from torch import Tensor

from lightning_posttrain.classification.functional.reliability import bin_of_probability
from lightning_posttrain.classification.metric.base import EvaluationMetric
from lightning_posttrain.classification.result.scores import Losses, Ranks, Reliability
from lightning_posttrain.classification.rows import LOSS, RowFacts
from lightning_posttrain.core.statistics.precision import LARGEST_LOSS, wide

# sums are kept as whole numbers of these parts, so that no order of rows changes them
FINE = 2.0**32
COARSE = 2.0**24
MOST = 2.0**40
# and fine ones as two numbers, of which the second has so many bits, so that 64 bits hold those of 2 ** 46 rows
LOW = 16


def fixed(values: Tensor, parts: float, counted: Tensor) -> Tensor:
    """``values`` as whole numbers of ``1 / parts``, 0 where not counted."""
    return (wide(values) * parts).round().long() * counted


def halves(whole: Tensor) -> tuple[Tensor, Tensor]:
    """Whole numbers in two parts, to be summed apart."""
    return whole >> LOW, whole & ((1 << LOW) - 1)


def of_fine(high: Tensor, low: Tensor) -> Tensor:
    """The sum, float64, whose halves in fine parts were summed."""
    return (high.double() * 2.0**LOW + low.double()) / FINE


@final
class LossSums(EvaluationMetric):
    """Sums of log loss and Brier score, for each label of a multilabel task.

    Each row is rounded to 2 ** -24 and 2 ** -32: the mean is within 3e-8 and 1.2e-10. A loss counts 2 ** 40 at most.
    There is room for 5e11 rows.
    """

    reads = LOSS
    sums: Tensor

    def __init__(self, num_classes: int, *, multilabel: bool = False, sync_on_compute: bool = True) -> None:
        super().__init__(num_classes, multilabel=multilabel, sync_on_compute=sync_on_compute)
        self.count("sums", 6, self.groups)

    def add_rows(self, rows: RowFacts) -> None:
        """Add rows."""
        infinite = torch.isinf(rows.log_loss)
        loss = rows.log_loss.masked_fill(infinite, LARGEST_LOSS).clamp(max=MOST)
        whole = loss.floor()  # apart, as the sum of many large losses in fine parts has no room in 64 bits
        terms = (
            fixed(whole, 1.0, rows.counted),
            fixed(loss - whole, COARSE, rows.counted),
            *halves(fixed(rows.brier, FINE, rows.counted)),
            rows.counted.long(),
            (rows.counted & infinite).long(),
        )
        for i, term in enumerate(terms):
            if rows.group is None:
                self.sums[i, 0] += term.sum()
            else:
                self.sums[i].index_add_(0, rows.group, term)

    def read(self, states: Mapping[str, Tensor]) -> Losses:
        """The means."""
        whole, rest, high, low, rows, infinite = states["sums"].clone()
        return Losses((whole + rest.double() / COARSE) / rows, of_fine(high, low) / rows, infinite)


@final
class RankCounts(EvaluationMetric):
    """Counts of how many classes come before each row's own; every top-k accuracy with k up to 1,000."""

    reads = frozenset({"rank"})
    counts: Tensor

    def __init__(self, num_classes: int, *, multilabel: bool = False, sync_on_compute: bool = True) -> None:
        super().__init__(num_classes, multilabel=multilabel, sync_on_compute=sync_on_compute)
        self.count("counts", min(num_classes, 1000) + 1)

    def add_rows(self, rows: RowFacts) -> None:
        """Add rows; labels of a multilabel task have no rank."""
        if not self.multilabel:
            rank = rows["rank"].nan_to_num(0).long().clamp(max=len(self.counts) - 1)
            self.counts.index_add_(0, rank, rows.counted.long())

    def read(self, states: Mapping[str, Tensor]) -> Ranks:
        """The counts."""
        return Ranks(states["counts"].clone())


@final
class ReliabilityBins(EvaluationMetric):
    """Counts of right and wrong rows in 15 bins of equal width over the confidence, and sums of it.

    Of decisions between two also of rows of class 1, and of the others, over the probability of class 1.
    """

    reads = LOSS
    bins: Tensor
    BINS = 15

    def __init__(self, num_classes: int, *, multilabel: bool = False, sync_on_compute: bool = True) -> None:
        super().__init__(num_classes, multilabel=multilabel, sync_on_compute=sync_on_compute)
        self.count("bins", 8 if self.choices == 2 else 4, self.BINS)

    def add_rows(self, rows: RowFacts) -> None:
        """Add rows."""
        self._add(self.bins[:4], rows.confidence, rows.right, rows.counted)
        if self.choices == 2:
            self._add(self.bins[4:], rows.of_one, rows.label == 1, rows.counted)

    def _add(self, bins: Tensor, said: Tensor, true: Tensor, counted: Tensor) -> None:
        place = bin_of_probability(said.nan_to_num(0), self.BINS)
        bins[0].index_add_(0, place, (counted & true).long())
        bins[1].index_add_(0, place, (counted & ~true).long())
        for bin_sums, part in zip(bins[2:], halves(fixed(said, FINE, counted)), strict=True):
            bin_sums.index_add_(0, place, part)

    def read(self, states: Mapping[str, Tensor]) -> Reliability:
        """The counts."""
        right, wrong, high, low, *of_one = states["bins"].clone()
        decided = (of_one[0], of_one[1], of_fine(of_one[2], of_one[3])) if of_one else None
        return Reliability(right, wrong, of_fine(high, low), decided)
