"""Histograms of scores, from which ROC and precision-recall curves follow at any number of rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

import torch
from torch import Tensor

from lightning_posttrain.classification.functional.histograms import bin_of_log_probability, bin_of_predicted, bins_for
from lightning_posttrain.classification.metric.base import EvaluationMetric
from lightning_posttrain.classification.result.scores import ScoreCounts
from lightning_posttrain.classification.rows import LOSS, RowFacts, numbers

MOST_CLASSES = 4096
"""With more classes nothing is counted: histograms would take hundreds of megabytes."""


@final
class ScoreHistograms(EvaluationMetric):
    """Counts ``(T, C)`` of each class's probability, over all rows and over the rows of the class.

    8 MiB at most for up to 1,000 classes, whatever the number of rows. Two probabilities in one bin are not told
    apart; ``auroc`` and ``average_precision`` say what that is worth.
    """

    reads = LOSS | {"log_total"}
    scores: Tensor
    positives: Tensor

    def __init__(self, num_classes: int, *, multilabel: bool = False, sync_on_compute: bool = True) -> None:
        super().__init__(num_classes, multilabel=multilabel, sync_on_compute=sync_on_compute)
        self.bins = bins_for(num_classes) if num_classes <= MOST_CLASSES else 0
        self.count("scores", self.bins, num_classes)
        self.count("positives", self.bins, num_classes)

    def add_scores(self, scores: Tensor, rows: RowFacts) -> None:
        """Count every score; those of the predicted classes, and of rows left out, are put right with their rows."""
        if self.multilabel or not self.bins:
            return
        log_total = rows["log_total"].masked_fill(rows.label != rows["target"], torch.inf)
        place = bin_of_log_probability(log_total[:, None], scores, self.bins)
        classes = numbers(self.num_classes, torch.int32, scores.device)
        cells = torch.add(classes, place, alpha=self.num_classes).view(-1)
        self._add(self.scores, cells, numbers(2, torch.int64, scores.device)[1:].expand(cells.shape))

    def add_rows(self, rows: RowFacts) -> None:
        """Count the rows' own scores."""
        if not self.bins:
            return
        if self.multilabel:
            self._add_labels(rows)
            return
        counted, predicted, others = rows.counted.long(), rows["predicted"], rows["others"]
        low = bin_of_log_probability(rows["log_total"], rows["top"], self.bins).long()
        top = torch.where(others < 1, bin_of_predicted(others, self.bins), low)
        own = bin_of_log_probability(rows["log_total"], rows["own"], self.bins).long()
        self._add(self.scores, low * self.num_classes + predicted, -counted)
        self._add(self.scores, top * self.num_classes + predicted, counted)
        self.scores[0] -= (~rows.counted).sum()
        self._add(self.positives, torch.where(rows.right, top, own) * self.num_classes + rows.label, counted)

    def _add_labels(self, rows: RowFacts) -> None:
        assert rows.group is not None
        others = rows["others"]
        there = bin_of_predicted(others, self.bins)
        absent = bin_of_log_probability(rows["log_total"], torch.zeros_like(others), self.bins).long()
        cells = torch.where(rows["predicted"] == 1, there, absent) * self.num_classes + rows.group
        self._add(self.scores, cells, rows.counted.long())
        self._add(self.positives, cells, (rows.counted & (rows.label == 1)).long())

    def _add(self, counts: Tensor, cells: Tensor, weight: Tensor) -> None:
        counts.view(-1).index_add_(0, cells, weight)

    def read(self, states: Mapping[str, Tensor]) -> ScoreCounts:
        """The counts, with classes named by their index."""
        names = tuple(map(str, range(self.num_classes)))
        positives = states["positives"].clone()
        return ScoreCounts(positives, states["scores"] - positives, names)
