"""A few samples that stay the same over epochs, taken from the batches as they go by."""

from __future__ import annotations

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
        self._kept: list[tuple[int, Tensor, int | None]] = []
        self._spare: list[tuple[int, Tensor, int | None]] = []
        self._closed = False

    def offer(self, inputs: Tensor, target: Tensor, usable: Tensor, index: Tensor | None) -> None:
        """Choose from a batch: ``inputs (N, ...)``, ``target (N,)``, ``usable (N,)`` bool, ``index (N,)``."""
        if self._closed:
            return
        positions = [None] * len(target) if index is None else index.tolist()
        for i, (label, fine) in enumerate(zip(target.tolist(), usable.tolist(), strict=True)):
            wanted = sum(kept[0] == label for kept in self._kept) < self._quota
            place = self._kept if wanted else self._spare
            if fine and len(place) < self._count:
                with torch.inference_mode(False):
                    place.append((label, inputs[i].detach().cpu().clone(), positions[i]))
            if len(self._kept) == self._count:
                self.close()
                return

    def close(self) -> None:
        """End the choice: where classes are missing, others fill their room; the order is by class."""
        if not self._closed:
            room = self._count - len(self._kept)
            self._kept = sorted([*self._kept, *self._spare[:room]], key=lambda kept: kept[0])
            self._spare, self._closed = [], True

    def __len__(self) -> int:
        return len(self._kept)

    def stacked(self) -> tuple[Tensor, Tensor, tuple[int | None, ...]]:
        """Inputs ``(K, ...)``, targets ``(K,)`` and positions in the dataset."""
        labels, inputs, positions = zip(*self._kept, strict=True)
        return torch.stack(inputs), torch.tensor(labels), positions
