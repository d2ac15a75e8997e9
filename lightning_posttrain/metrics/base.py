"""What the evaluation stream asks of a metric."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor
from torchmetrics import Metric

from lightning_posttrain.batch import EvalBatch
from lightning_posttrain.results import Result


class EvaluationMetric(Metric, ABC):
    """A metric over ``EvalBatch``es whose every state is a tensor of fixed shape that sums across ranks.

    Sums make it lawful: any split of the rows into batches and ranks, in any order, gives the same state.

    Args:
        num_classes: ``C``.
        sync_on_compute: sum over ranks in ``compute``, as torchmetrics does. The stream, which sums the
            states of all metrics at once, turns this off.
    """

    is_differentiable = False
    higher_is_better = None
    full_state_update = False

    def __init__(self, num_classes: int, *, sync_on_compute: bool = True) -> None:
        super().__init__(sync_on_compute=sync_on_compute)
        self.num_classes = num_classes

    @abstractmethod
    def update(self, batch: EvalBatch) -> None:
        """Add a batch, without a synchronisation with the host."""

    def states(self) -> dict[str, Tensor]:
        """The states as they are on this rank."""
        return {name: state for name, state in self.metric_state.items() if isinstance(state, Tensor)}

    def compute(self) -> dict[str, Tensor]:
        """The states, summed over ranks.

        A frozen dataclass cannot be returned here: torchmetrics rebuilds what ``compute`` gives it.
        """
        return self.states()

    @abstractmethod
    def result(self) -> Result:
        """What the states amount to, on the CPU."""
