"""A few samples that stay the same over epochs, taken from the batches as they go by."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


class FixedSamples:
    """Keeps ``count`` samples, as many of each class as there is room for, in order of appearance.

    The first epoch chooses, and copies to the CPU; later ones change nothing. So the choice depends on the
    loader's first order alone, and no second loader is read. Reads targets on the host until it is full.

    Args:
        count: how many.
        num_classes: ``C``.
    """

    def __init__(self, count: int, num_classes: int) -> None:
        self._count = count
        self._quota = -(-count // num_classes)
        self._kept: list[_Sample] = []
        self._spare: list[_Sample] = []
        self._closed = False

    def offer(
        self, inputs: Tensor, scores: Tensor, target: Tensor, usable: Tensor, index: Tensor | None = None
    ) -> None:
        """Choose from a batch.

        Args:
            inputs: ``(N, ...)``.
            scores: ``(N, C)``.
            target: ``(N,)``.
            usable: ``(N,)`` bool.
            index: positions in the dataset ``(N,)``, or None.
        """
        if self._closed:
            return
        positions = [None] * len(target) if index is None else index.tolist()
        for i, (label, fine) in enumerate(zip(target.tolist(), usable.tolist(), strict=True)):
            wanted = sum(kept.target == label for kept in self._kept) < self._quota
            place = self._kept if wanted else self._spare
            if fine and len(place) < self._count:
                place.append(_Sample(label, _copy(inputs[i]), _copy(scores[i]), positions[i]))
            if len(self._kept) == self._count:
                self.close()
                return

    def close(self) -> None:
        """End the choice: where classes are missing, others fill their room; the order is by class."""
        if not self._closed:
            room = self._count - len(self._kept)
            self._kept = sorted([*self._kept, *self._spare[:room]], key=lambda kept: kept.target)
            self._spare, self._closed = [], True

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def inputs(self) -> Tensor:
        """``(K, ...)``."""
        return torch.stack([kept.inputs for kept in self._kept])

    @property
    def scores(self) -> Tensor:
        """What the step gave for them when they were chosen ``(K, C)``."""
        return torch.stack([kept.scores for kept in self._kept])

    @property
    def target(self) -> Tensor:
        """``(K,)``."""
        return torch.tensor([kept.target for kept in self._kept])

    @property
    def index(self) -> tuple[int | None, ...]:
        """Positions in the dataset."""
        return tuple(kept.index for kept in self._kept)


@dataclass(frozen=True, eq=False)
class _Sample:
    target: int
    inputs: Tensor
    scores: Tensor
    index: int | None


def _copy(tensor: Tensor) -> Tensor:
    with torch.inference_mode(False):  # a copy made in it could not be differentiated
        return tensor.detach().cpu().clone()
