"""Confusion counts, from which every figure on hard predictions derives."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from lightning_posttrain.batch import EvalBatch
from lightning_posttrain.functional.confusion import add_confusion
from lightning_posttrain.metrics.base import EvaluationMetric
from lightning_posttrain.results import Confusion


@final
class ConfusionCounts(EvaluationMetric):
    """Counts ``(C, C)`` of actual against predicted class, int64.

    Rows whose scores are not finite or whose target is no class are counted apart.

    Example:
        >>> metric = ConfusionCounts(2)
        >>> metric.update(EvalBatch(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 0])))
        >>> metric.result().counts
        tensor([[1, 1],
                [0, 0]])
    """

    counts: Tensor
    nonfinite: Tensor
    out_of_range: Tensor

    def __init__(self, num_classes: int, *, sync_on_compute: bool = True) -> None:
        super().__init__(num_classes, sync_on_compute=sync_on_compute)
        square = torch.zeros(num_classes, num_classes, dtype=torch.int64)
        self.add_state("counts", square, dist_reduce_fx="sum")
        self.add_state("nonfinite", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("out_of_range", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, batch: EvalBatch) -> None:
        """Add a batch."""
        add_confusion(self.counts, batch.target, batch.predicted, batch.counted)
        self.nonfinite += (batch.real & ~batch.finite).sum()
        self.out_of_range += (batch.real & ~batch.in_range).sum()

    def result(self) -> Confusion:
        """The matrix, with classes named by their index."""
        state = self.compute()
        names = tuple(map(str, range(self.num_classes)))
        return Confusion(
            counts=state["counts"].cpu().clone(),
            class_names=names,
            nonfinite=int(state["nonfinite"]),
            out_of_range=int(state["out_of_range"]),
        )
