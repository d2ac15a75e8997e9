"""Confusion counts, from which every figure on hard predictions derives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

import torch
from torch import Tensor

from lightning_posttrain.classification.functional.confusion import add_confusion, merged_cells
from lightning_posttrain.classification.metric.base import EvaluationMetric
from lightning_posttrain.classification.result.confusion import Confusion, LabelConfusion
from lightning_posttrain.classification.rows import RowFacts

DENSE_CLASSES = 2048
LOOSE_ROWS = 1 << 20


@final
class ConfusionCounts(EvaluationMetric):
    """Counts ``(C, C)`` of actual against predicted class, for multilabel ``(L, 2, 2)``, int64.

    Rows whose scores are not finite or whose target is no class are counted apart. With more than 2,048 classes only
    the cells that are not zero are kept, 16 bytes each, and 16 bytes for each of the last million rows; under DDP every
    rank receives those of all.

    Example:
        >>> from lightning_posttrain.classification.batch import EvalBatch
        >>> metric = ConfusionCounts(2)
        >>> metric.update(EvalBatch(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 0])))
        >>> metric.result().counts
        tensor([[1, 1],
                [0, 0]])
    """

    counts: Tensor
    cells: list[Tensor]
    left_out: Tensor
    matches: Tensor

    def __init__(self, num_classes: int, *, multilabel: bool = False, sync_on_compute: bool = True) -> None:
        super().__init__(num_classes, multilabel=multilabel, sync_on_compute=sync_on_compute)
        self.sparse = self.choices > DENSE_CLASSES
        if self.sparse:
            self.grow("cells", 2)
        else:
            self.count("counts", self.groups, self.choices, self.choices)
        self.count("left_out", 2)
        self.count("matches", 2)

    def add_rows(self, rows: RowFacts) -> None:
        """Add rows."""
        if self.sparse:
            self._add_cells(rows)
        else:
            add_confusion(self.counts, rows["target"], rows["predicted"], rows.counted, rows.group)
        self.left_out[0] += (rows.real & ~rows.finite).sum()
        self.left_out[1] += (rows.real & ~rows.in_range).sum()
        if self.multilabel:
            counted = rows.counted.view(-1, self.groups)
            there = counted.any(dim=1)
            self.matches[0] += there.sum()
            self.matches[1] += (there & (rows.right.view(-1, self.groups) | ~counted).all(dim=1)).sum()

    def _add_cells(self, rows: RowFacts) -> None:
        cells = rows.label * self.choices + rows["predicted"]
        self.cells.append(torch.stack([cells, rows.counted.long()], dim=1))
        if sum(map(len, self.cells[1:])) > LOOSE_ROWS:
            self.cells = [merged_cells(torch.cat(self.cells))]

    def compact(self) -> None:
        """Count rows of one cell together."""
        if self.sparse and self.cells:
            self.cells = [merged_cells(torch.cat(self.cells))]

    def read(self, states: Mapping[str, Tensor]) -> Confusion | LabelConfusion:
        """The counts, with classes named by their index."""
        names = tuple(map(str, range(self.num_classes)))
        nonfinite, out_of_range = states["left_out"].tolist()
        if self.multilabel:
            rows, exact = states["matches"].tolist()
            return LabelConfusion(states["counts"].clone(), names, rows, exact, nonfinite, out_of_range)
        counts = self._from_cells(states["cells"]) if self.sparse else states["counts"][0].clone()
        return Confusion(counts, names, nonfinite, out_of_range)

    def _from_cells(self, cells: Tensor) -> Tensor:
        cell, count = merged_cells(cells).t()
        place = torch.stack([cell // self.choices, cell % self.choices])
        size = (self.choices, self.choices)
        return torch.sparse_coo_tensor(place, count, size, is_coalesced=True, check_invariants=False)
