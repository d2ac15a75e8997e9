"""What the evaluation stream asks of a metric."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor
from torchmetrics import Metric

from lightning_posttrain.batch import EvalBatch
from lightning_posttrain.results import Result
from lightning_posttrain.rows import RowFacts


class EvaluationMetric(Metric, ABC):
    """A metric over ``EvalBatch``es whose states are int64 tensors of fixed shape that sum across ranks.

    Sums make it lawful: any split of the rows into batches and ranks, in any order, gives the same state. One that must
    keep rows has states that grow.

    Args:
        num_classes: ``C``, or for multilabel the number of labels ``L``.
        multilabel: whether each row has any number of labels.
        sync_on_compute: sum over ranks in ``compute``, as torchmetrics does. The stream, which sums the
            states of all metrics at once, turns this off.
    """

    is_differentiable = False
    higher_is_better = None
    full_state_update = False
    reads: ClassVar[frozenset[str]] = frozenset()
    """Facts that it wants of each row, beside the basic ones."""

    def __init__(self, num_classes: int, *, multilabel: bool = False, sync_on_compute: bool = True) -> None:
        super().__init__(sync_on_compute=sync_on_compute)
        self.growing: dict[str, Tensor] = {}
        self.num_classes = num_classes
        self.multilabel = multilabel
        self.groups, self.choices = (num_classes, 2) if multilabel else (1, num_classes)

    def count(self, name: str, *shape: int) -> None:
        """Add a state of zeros."""
        self.add_state(name, torch.zeros(shape, dtype=torch.int64), dist_reduce_fx="sum")

    def grow(self, name: str, width: int, dtype: torch.dtype = torch.int64) -> None:
        """Add a state of rows ``(K, width)`` that are not summed over ranks but put one after the other.

        Rows of zeros must mean nothing.
        """
        self.growing[name] = torch.zeros(0, width, dtype=dtype)
        self.add_state(name, [], dist_reduce_fx="cat")

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

    def states(self) -> dict[str, Tensor]:
        """The states as they are on this rank; of a state that grows, its parts in one."""
        return {name: self._as_one(name, state) for name, state in self.metric_state.items()}

    def _as_one(self, name: str, state: Tensor | list[Tensor]) -> Tensor:
        parts = [state] if isinstance(state, Tensor) else [self.growing[name].to(self.device), *state]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def compute(self) -> dict[str, Tensor]:
        """The states, summed over ranks.

        A frozen dataclass cannot be returned here: torchmetrics rebuilds what ``compute`` gives it.
        """
        return self.states()

    def result(self) -> Result:
        """What the states amount to, on the CPU, summed over ranks."""
        return self.report(self.compute())

    def report(self, states: Mapping[str, Tensor]) -> Result:
        """What states amount to, on the CPU."""
        return self.read({name: state.cpu() for name, state in states.items()})

    @classmethod
    def of_nothing(cls, num_classes: int, *, multilabel: bool) -> Result:
        """The result of no rows, which has all its names."""
        metric = cls(num_classes, multilabel=multilabel)
        return metric.report(metric.states())

    @abstractmethod
    def read(self, states: Mapping[str, Tensor]) -> Result:
        """The result of states that lie on the CPU; it keeps none of their memory."""
