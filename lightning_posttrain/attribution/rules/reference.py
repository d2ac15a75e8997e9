"""Notes of a first run, taken on a second one."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from lightning_posttrain.attribution.problem import NotApplicableError
from lightning_posttrain.attribution.rules.base import Call, Rule, Rules


class References(Rules):
    """Notes arguments on the first run, and takes them on the second."""

    def __init__(self, table: Mapping[Any, Rule]) -> None:
        super().__init__(table)
        self._notes: deque[tuple[Any, tuple[Tensor, ...]]] = deque()
        self.noting = True

    def reference(self, call: Call, *tensors: Tensor) -> tuple[Tensor, ...] | None:
        """What the arguments were on the baseline; None while that is run."""
        if self.noting:
            self._notes.append((call.func, tuple(tensor.detach().clone() for tensor in tensors)))
            return None
        func, noted = self._notes.popleft() if self._notes else (None, ())
        if func is not call.func or [x.shape for x in noted] != [x.shape for x in tensors]:
            raise NotApplicableError(
                "the forward takes another way for the baseline than for the sample; take integrated_gradients"
            )
        return noted
