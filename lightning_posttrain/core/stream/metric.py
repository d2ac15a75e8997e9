"""What the evaluation stream asks of a metric, of whatever family."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from lightning_posttrain.core.output.result import Result


class StreamMetric(Metric, ABC):
    """A metric whose states are tensors of fixed shape that sum across ranks, int64 or float64.

    Sums make it lawful: any split of the rows into batches and ranks, in any order, gives the same state. One that must
    keep rows has states that grow.

    Args:
        sync_on_compute: sum over ranks in ``compute``, as torchmetrics does. The stream, which sums the
            states of all metrics at once, turns this off.
    """

    is_differentiable = False
    higher_is_better = None
    full_state_update = False

    def __init__(self, *, sync_on_compute: bool = True) -> None:
        super().__init__(sync_on_compute=sync_on_compute)
        self.growing: dict[str, Tensor] = {}

    def count(self, name: str, *shape: int) -> None:
        """Add a state of zeros."""
        self.add_state(name, torch.zeros(shape, dtype=torch.int64), dist_reduce_fx="sum")

    def grow(self, name: str, width: int, dtype: torch.dtype = torch.int64) -> None:
        """Add a state of rows ``(K, width)`` that are not summed over ranks but put one after the other.

        Rows of zeros must mean nothing.
        """
        self.growing[name] = torch.zeros(0, width, dtype=dtype)
        self.add_state(name, [], dist_reduce_fx="cat")

    @abstractmethod
    def update(self, batch: Any) -> None:
        """Add a batch of the family, without a synchronisation with the host."""

    def fixed(self) -> dict[str, Tensor]:
        """What the states of fixed shape are before anything is counted, zeros."""
        return {name: state for name, state in self._defaults.items() if isinstance(state, Tensor)}

    def hold(self, states: Mapping[str, Tensor], device: torch.device) -> None:
        """Take states on a device, which may be views of one tensor; those that grow follow what is added."""
        for name, state in states.items():
            setattr(self, name, state)
        self._device = device

    def compact(self) -> None:
        """Make what was counted as small as can be, before it is sent to other ranks."""

    def survey(self, rank: int, rows: Tensor) -> Tensor | None:
        """Numbers, int64, whose sums over ranks tell ``settle`` what of the rows here is needed by all.

        Args:
            rank: of this process.
            rows: how many rows each of ``R`` ranks has of each state that grows ``(R, G)``.

        Returns:
            On every rank of one shape, or on every rank None: all rows are needed.
        """

    def settle(self, total: Tensor) -> None:
        """Keep what is needed by all, as the sum of all surveys tells.

        A state that grows may become one that sums.
        """

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

    @abstractmethod
    def read(self, states: Mapping[str, Tensor]) -> Result:
        """The result of states that lie on the CPU; it keeps none of their memory."""
