"""Confusion counts, from which every figure on hard predictions derives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

from torch import Tensor

from lightning_posttrain.functional.confusion import add_confusion
from lightning_posttrain.metrics.base import EvaluationMetric
from lightning_posttrain.results import Confusion, LabelConfusion
from lightning_posttrain.rows import RowFacts


@final
class ConfusionCounts(EvaluationMetric):
    """Counts ``(C, C)`` of actual against predicted class, for multilabel ``(L, 2, 2)``, int64.

    Rows whose scores are not finite or whose target is no class are counted apart.

    Example:
        >>> import torch
        >>> from lightning_posttrain.batch import EvalBatch
        >>> metric = ConfusionCounts(2)
        >>> metric.update(EvalBatch(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 0])))
        >>> metric.result().counts
        tensor([[1, 1],
                [0, 0]])
    """

    counts: Tensor
    left_out: Tensor
    matches: Tensor

    def __init__(self, num_classes: int, *, multilabel: bool = False, sync_on_compute: bool = True) -> None:
        super().__init__(num_classes, multilabel=multilabel, sync_on_compute=sync_on_compute)
        self.count("counts", self.groups, self.choices, self.choices)
        self.count("left_out", 2)
        self.count("matches", 2)

    def add_rows(self, rows: RowFacts) -> None:
        """Add rows."""
        add_confusion(self.counts, rows["target"], rows["predicted"], rows.counted, rows.group)
        self.left_out[0] += (rows.real & ~rows.finite).sum()
        self.left_out[1] += (rows.real & ~rows.in_range).sum()
        if self.multilabel:
            counted = rows.counted.view(-1, self.groups)
            there = counted.any(dim=1)
            self.matches[0] += there.sum()
            self.matches[1] += (there & (rows.right.view(-1, self.groups) | ~counted).all(dim=1)).sum()

    def read(self, states: Mapping[str, Tensor]) -> Confusion | LabelConfusion:
        """The counts, with classes named by their index."""
        names = tuple(map(str, range(self.num_classes)))
        nonfinite, out_of_range = states["left_out"].tolist()
        if self.multilabel:
            rows, exact = states["matches"].tolist()
            return LabelConfusion(states["counts"], names, rows, exact, nonfinite, out_of_range)
        return Confusion(states["counts"][0], names, nonfinite, out_of_range)
