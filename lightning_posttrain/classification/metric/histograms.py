"""Scores for ROC and precision-recall curves: all of them while they are few, histograms of them beyond."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

import torch
from torch import Tensor
from torch import distributed as dist

from lightning_posttrain.classification.functional.histograms import (
    bins_for,
    count_rows,
    fitted_axis,
    fitted_step,
    no_counts,
    on_axis,
)
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
    next rows do not fit, those that are kept are counted, and so on: in bins that adapt to the first of them, up to
    32,768 for each class, in 16 MiB for up to 2,000 classes. Scores in one bin are not told apart; the bounds of
    the areas say what that is worth. Over 4,096 classes nothing is kept.
    """

    scores: list[Tensor]
    marks: list[Tensor]
    axes: list[Tensor]
    tables: list[Tensor]

    def __init__(self, num_classes: int, *, multilabel: bool = False, sync_on_compute: bool = True) -> None:
        super().__init__(num_classes, multilabel=multilabel, sync_on_compute=sync_on_compute)
        self.bins = bins_for(num_classes) if num_classes <= MOST_CLASSES else 0
        self.room = MEMORY // (dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1)
        keep_rows(self)
        self.grow("axes", 2, torch.float32)
        self.grow("tables", self.bins + 1)

    def add_scores(self, scores: Tensor, rows: RowFacts) -> None:
        """Keep rows; count those that are kept when they take more than their room."""
        if not self.bins:
            return
        self.scores.append(scores.clone())  # a buffer may come in that is used again
        self.marks.append(marks_of(scores, rows))
        if sum(part.nbytes for part in (*self.scores, *self.marks)) > self.room:
            self._count()

    def add_rows(self, rows: RowFacts) -> None:
        """Nothing: what is needed came with the scores."""

    def _count(self) -> None:
        scores, marks = torch.cat(self.scores), torch.cat(self.marks)
        if not self.axes:
            step = fitted_step(len(scores), self.num_classes)
            self.axes = [fitted_axis(on_axis(scores[::step], multilabel=self.multilabel), marks[::step])]
            self.tables = [no_counts(self.num_classes, self.bins, scores.device).view(-1, self.bins + 1)]
        table = self.tables[0].clone()  # one made in inference mode could not be changed outside it
        counts = table.view(2, self.num_classes, -1)
        count_rows(counts, scores, marks, self.axes[0], multilabel=self.multilabel)
        self.scores, self.marks, self.tables = [], [], [table]

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
        return ranked_counts(tables[counted], axes[counted], *rows, multilabel=self.multilabel, ignored=self.ignored)
