"""All scores, for areas under curves without an approximation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

import torch
from torch import Tensor

from lightning_posttrain.classification.functional.ranked import ranked_rows
from lightning_posttrain.classification.metric.base import EvaluationMetric
from lightning_posttrain.classification.result.scores import RankedScores
from lightning_posttrain.classification.rows import RowFacts


@final
class ExactScores(EvaluationMetric):
    """Keeps every score, 4 bytes each, and a mark of 8 bytes a row; for multilabel 5 bytes a score.

    Under DDP every rank holds those of all ranks at the end of the epoch.
    """

    scores: list[Tensor]
    marks: list[Tensor]

    def __init__(self, num_classes: int, *, multilabel: bool = False, sync_on_compute: bool = True) -> None:
        super().__init__(num_classes, multilabel=multilabel, sync_on_compute=sync_on_compute)
        keep_rows(self)

    def add_scores(self, scores: Tensor, rows: RowFacts) -> None:
        """Keep rows."""
        self.scores.append(scores.clone())  # a buffer may come in that is used again
        self.marks.append(marks_of(scores, rows))

    def add_rows(self, rows: RowFacts) -> None:
        """Nothing: what is needed came with the scores."""

    def read(self, states: Mapping[str, Tensor]) -> RankedScores:
        """The areas."""
        return ranked_rows(states["scores"], states["marks"], multilabel=self.multilabel, ignored=self.ignored)


def keep_rows(metric: EvaluationMetric) -> None:
    """Give a metric states for scores as they come, in float32 or wider, and for marks."""
    metric.grow("scores", metric.num_classes, torch.float32)
    metric.grow("marks", *((metric.num_classes, torch.uint8) if metric.multilabel else (1, torch.int64)))


def marks_of(scores: Tensor, rows: RowFacts) -> Tensor:
    """One more than the label, 0 where a row does not count: ``(N, 1)`` int64, for multilabel ``(N, L)`` uint8."""
    marks = (rows.label + 1) * rows.counted
    return marks[:, None] if rows.group is None else marks.view(scores.shape).byte()
