"""What the metrics of classification share: rows, each a decision between classes."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from lightning_posttrain.classification.batch import EvalBatch
from lightning_posttrain.classification.rows import RowFacts
from lightning_posttrain.core.output.result import Result
from lightning_posttrain.core.stream.metric import StreamMetric

Needs = tuple[type["EvaluationMetric"], ...]


class EvaluationMetric(StreamMetric):
    """A metric over ``EvalBatch``es.

    Args:
        num_classes: ``C``, or for multilabel the number of labels ``L``.
        multilabel: whether each row has any number of labels.
        sync_on_compute: sum over ranks in ``compute``, as torchmetrics does. The stream, which sums the
            states of all metrics at once, turns this off.
    """

    reads: ClassVar[frozenset[str]] = frozenset()
    """Facts that it wants of each row, beside the basic ones."""
    ignored: tuple[int, ...] = ()
    """Classes whose rows are left out on purpose."""

    def __init__(self, num_classes: int, *, multilabel: bool = False, sync_on_compute: bool = True) -> None:
        super().__init__(sync_on_compute=sync_on_compute)
        self.num_classes = num_classes
        self.multilabel = multilabel
        self.groups, self.choices = (num_classes, 2) if multilabel else (1, num_classes)

    def update(self, batch: EvalBatch) -> None:
        """Add a batch, without a synchronisation with the host."""
        rows = batch.rows(self.reads)
        with torch.no_grad():
            self.add_scores(batch.scores, rows)
            self.add_rows(rows)

    def add_scores(self, scores: Tensor, rows: RowFacts) -> None:
        """Add what cannot be told from the facts of rows; its rows come to ``add_rows`` once more."""

    @abstractmethod
    def add_rows(self, rows: RowFacts) -> None:
        """Add rows, of one batch or of many."""

    @classmethod
    def of_nothing(cls, num_classes: int, *, multilabel: bool) -> Result:
        """The result of no rows, which has all its names."""
        metric = cls(num_classes, multilabel=multilabel)
        return metric.report(metric.states())
