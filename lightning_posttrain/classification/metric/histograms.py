"""Scores for ROC and precision-recall curves: all of them while they are few, histograms of them beyond."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

import torch
from torch import Tensor
from torch import distributed as dist

from lightning_posttrain.classification.functional.histograms import (
    PLACES,
    bins_for,
    bins_of_rows,
    count_cells,
    fitted_axis,
    fitted_step,
    no_counts,
    on_axis,
)
from lightning_posttrain.classification.functional.moved_histograms import moved_at_each_place
from lightning_posttrain.classification.functional.ranked import (
    MOST_CLASSES,
    ranked_counts,
    ranked_rows,
    without_curves,
)
from lightning_posttrain.classification.metric.base import EvaluationMetric
from lightning_posttrain.classification.metric.exact import keep_rows, marks_of
from lightning_posttrain.classification.result.scores import RankedScores
from lightning_posttrain.classification.rows import RowFacts

MEMORY = 1 << 24
"""Bytes of scores and marks that are kept, by all ranks together."""


@final
class ScoreHistograms(EvaluationMetric):
    """Keeps scores up to 16 MiB, from which areas under curves are exact, and counts them in bins from there on.

    That is 349,000 rows of 10 classes, 41,000 of 100, 4,100 of 1,000; of several ranks each keeps its share. When the
    next rows do not fit, all are counted in bins that adapt to those that came so far, up to 8,192 for each class, in
    16 MiB for up to 2,000 classes. Scores in one bin are not told apart; the bounds of the areas say what that is
    worth. Under DDP every rank holds what all ranks kept and counted at the end of the epoch, in the bins of the first
    rank that has some, to which those of others are moved, which makes the bounds wider. Over 4,096 classes nothing is
    kept.
    """

    scores: list[Tensor]
    marks: list[Tensor]
    axes: list[Tensor]
    tables: list[Tensor] | Tensor

    def __init__(self, num_classes: int, *, multilabel: bool = False, sync_on_compute: bool = True) -> None:
        super().__init__(num_classes, multilabel=multilabel, sync_on_compute=sync_on_compute)
        self.bins = bins_for(num_classes) if num_classes <= MOST_CLASSES else 0
        self.room = MEMORY // (dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1)
        self.binned: list[Tensor] = []
        self._first = False
        keep_rows(self)
        self.grow("axes", 2, torch.float32)
        self.grow("tables", self.bins + 1)

    def add_scores(self, scores: Tensor, rows: RowFacts) -> None:
        """Keep rows, or their bins; count them when they take more than their room."""
        if not self.bins:
            return
        self.marks.append(marks_of(scores, rows))
        if self.axes:
            self._bin(scores)
        else:
            self.scores.append(scores)
        if sum(part.nbytes for part in (*self.scores, *self.binned, *self.marks)) > self.room:
            self._count()
        elif not self.axes:
            self.scores[-1] = scores.clone()  # a buffer may come in that is used again

    def add_rows(self, rows: RowFacts) -> None:
        """Nothing: what is needed came with the scores."""

    def _bin(self, scores: Tensor) -> None:
        self.binned.append(bins_of_rows(scores, self.axes[0], self.bins, multilabel=self.multilabel))

    def _count(self) -> None:
        """Count the bins of what is kept, class after class: many rows at a time are quick."""
        if not self.axes:
            self._fit()
            for scores in self.scores:
                self._bin(scores)
        table = self.tables[0].clone()  # one made in inference mode could not be changed outside it
        count_cells(table.view(2, self.num_classes, -1), torch.cat(self.binned, dim=1), torch.cat(self.marks))
        self.scores, self.binned, self.marks, self.tables = [], [], [], [table]

    def _fit(self) -> None:
        step = fitted_step(sum(map(len, self.scores)), self.num_classes)
        scores, marks = (torch.cat([part[::step] for part in parts]) for parts in (self.scores, self.marks))
        self.axes = [fitted_axis(on_axis(scores, multilabel=self.multilabel), marks)]
        self.tables = [no_counts(self.num_classes, self.bins, scores.device).view(-1, self.bins + 1)]

    def states(self) -> dict[str, Tensor]:
        """The states, with all that was binned counted."""
        if self.binned:
            self._count()
        return super().states()

    def survey(self, rank: int, rows: Tensor) -> Tensor | None:
        """The axes of the first rank that has some, bit by bit, where there are several."""
        counted = (rows[:, 2] > 0).nonzero()[:, 0].tolist()
        if len(counted) < 2:
            return None
        self._first = rank == counted[0]
        bits = torch.zeros(self.num_classes, dtype=torch.int64, device=rows.device).to(self.device)
        return self.axes[0].view(torch.int64)[:, 0] if self._first else bits

    def settle(self, total: Tensor) -> None:
        """Move what is counted to the axes of all, each score at the lowest, the middle and the highest of its bin."""
        onto = total.view(torch.float32).view(-1, 2)
        found = total.new_zeros(len(PLACES), 2, self.num_classes, self.bins + 1)
        if self.axes:
            own = self.tables[0].view(-1, *found.shape[1:])[..., :-1]
            found[..., :-1] = moved_at_each_place(own, self.axes[0], onto)
        self.axes, self.tables = [onto] if self._first else [], found.view(-1, self.bins + 1)

    def sync(self, *arguments: Any, **options: Any) -> None:
        """Gather the states of all ranks, with all that was binned counted."""
        if self.binned:
            self._count()
        super().sync(*arguments, **options)

    def reset(self) -> None:
        """Forget."""
        self.tables = []
        super().reset()
        self.binned = []

    def read(self, states: Mapping[str, Tensor]) -> RankedScores:
        """Areas and curves, exactly where all scores were kept."""
        if not self.bins:
            return without_curves(self.num_classes)
        rows = states["scores"], states["marks"]
        axes = states["axes"].view(-1, self.num_classes, 2)
        counted = axes[..., 1].any(dim=1)  # a rank that kept all has none
        if not counted.any():
            return ranked_rows(*rows, multilabel=self.multilabel, ignored=self.ignored)
        tables = states["tables"].view(-1, 2, self.num_classes, self.bins + 1)[..., :-1]
        if len(axes) > 1:
            axes, tables = axes[counted], tables[counted]
        if len(axes) > 1:
            ranks = zip(tables, axes, strict=True)
            tables = torch.stack([moved_at_each_place(own[None], axis, axes[0]) for own, axis in ranks]).sum(dim=0)
        return ranked_counts(tables, axes[0].double(), *rows, multilabel=self.multilabel, ignored=self.ignored)
