"""A bounded sample of rows with their scores, for what is fitted at the end of an epoch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

import torch
from torch import Tensor

from lightning_posttrain.classification.metric.base import EvaluationMetric
from lightning_posttrain.classification.result.scores import ScoreRows
from lightning_posttrain.classification.rows import RowFacts

MEMORY = 1 << 26
"""Bytes of scores that are kept, at most twice as many while an epoch lasts, and those of each rank after it."""
SPREAD = 0x9E3779B97F4A7C1
"""An odd number, by which whole numbers are spread over all others."""


@final
class ScoreSample(EvaluationMetric):
    """Keeps the scores and the target of rows, of all up to 64 MiB, else of a sample of those.

    That is 1.6 million rows of 10 classes, 16 thousand of 1,000. Which rows are kept is told by a hash of their
    scores and target: it is a random sample of them that no order, split into batches or number of ranks changes.
    A mean over ``n`` of ``N`` rows has a standard error of its standard deviation times ``sqrt(1/n - 1/N)``.
    """

    scores: list[Tensor]
    marks: list[Tensor]
    counted: Tensor

    def __init__(self, num_classes: int, *, multilabel: bool = False, sync_on_compute: bool = True) -> None:
        super().__init__(num_classes, multilabel=multilabel, sync_on_compute=sync_on_compute)
        self.capacity = max(1024, MEMORY // (4 * num_classes))
        self.grow("scores", num_classes, torch.float32)
        self.grow("marks", num_classes if multilabel else 1)
        self.count("counted")

    def add_scores(self, scores: Tensor, rows: RowFacts) -> None:
        """Keep rows; a row of labels of which none counts is none."""
        marks = ((rows.label + 1) * rows.counted).view(len(scores), -1)
        self.counted += (marks > 0).any(1).sum()
        self.scores.append(scores.to(torch.float32, copy=True))  # a buffer may come in that is used again
        self.marks.append(marks)
        if sum(map(len, self.scores)) > 2 * self.capacity:
            self.scores, self.marks = ([part] for part in self._least(torch.cat(self.scores), torch.cat(self.marks)))

    def add_rows(self, rows: RowFacts) -> None:
        """Nothing: what is needed came with the scores."""

    def _least(self, scores: Tensor, marks: Tensor) -> tuple[Tensor, Tensor]:
        """The rows with the smallest hashes, in their order; rows that do not count come last."""
        order = row_hash(scores, marks).masked_fill(~(marks > 0).any(1), torch.iinfo(torch.int64).max)
        kept = order.argsort(stable=True)[: self.capacity]
        return scores[kept], marks[kept]

    def states(self) -> dict[str, Tensor]:
        """The states; of more rows than there is room for, those that are kept."""
        states = super().states()
        if len(states["scores"]) > self.capacity:
            states["scores"], states["marks"] = self._least(states["scores"], states["marks"])
        return states

    def read(self, states: Mapping[str, Tensor]) -> ScoreRows:
        """The rows that count, in the order of their hashes."""
        scores, marks = self._least(states["scores"], states["marks"])
        real = (marks > 0).any(1)
        target = marks[real] - 1
        return ScoreRows(scores[real], target if self.multilabel else target[:, 0], int(states["counted"]))


def row_hash(scores: Tensor, marks: Tensor) -> Tensor:
    """A number ``(N,)``, int64, from 0 up, that looks random but is always the same for a row.

    Args:
        scores: ``(N, C)`` float32.
        marks: ``(N, M)`` int64.
    """
    values = torch.cat([scores.contiguous().view(torch.int32).long(), marks], dim=1)
    places = _mixed(torch.arange(1, values.shape[1] + 1, device=values.device) * SPREAD)
    # wraps around at 64 bits; the lowest would tell odd from even alone
    return _mixed((values * (places | 1)).sum(1)) & torch.iinfo(torch.int64).max


def _mixed(values: Tensor) -> Tensor:
    for shift in (30, 27, 31):
        values = (values ^ (values >> shift)) * SPREAD
    return values ^ (values >> 32)
