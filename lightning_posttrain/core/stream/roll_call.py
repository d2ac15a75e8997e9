"""What ranks tell each other of an epoch before they send what they counted, in one message."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from lightning.pytorch import Trainer
from torch import Tensor

from lightning_posttrain.core.stream.ranks import told_by_each


class RollCall:
    """Whole numbers of every rank.

    Each rank adds as many in the same order; ``answered`` sends them, and ``of`` gives what all ranks said in a place.

    Example:
        >>> from lightning.pytorch import Trainer
        >>> call = RollCall()
        >>> rows, flags = call.add([7]), call.add([True, False])
        >>> call.answered(Trainer(logger=False, enable_checkpointing=False))
        >>> call.of(flags).tolist()
        [[1, 0]]
    """

    def __init__(self) -> None:
        self._mine: list[int] = []
        self._all = torch.zeros(0, 0, dtype=torch.int64)

    def add(self, numbers: Iterable[int]) -> slice:
        """Tell numbers; where they stand among all."""
        first = len(self._mine)
        self._mine += map(int, numbers)
        return slice(first, len(self._mine))

    def answered(self, trainer: Trainer) -> None:
        """Hear all ranks; all ranks together."""
        self._all = told_by_each(trainer, torch.tensor(self._mine, dtype=torch.int64))

    def of(self, place: slice) -> Tensor:
        """The numbers of each rank ``(R, K)``, on the CPU."""
        return self._all[:, place]
