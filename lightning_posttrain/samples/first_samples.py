"""The first samples of what is no classification."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_posttrain.samples.reservoir import Chosen, own
from lightning_posttrain.samples.slots import Positions


class FirstSamples:
    """The first of an epoch that is no classification, or some positions; the same in every epoch.

    Args:
        samples: how many, or positions in the dataset.
    """

    def __init__(self, samples: int | Sequence[int]) -> None:
        self._count = samples if isinstance(samples, int) else len(samples)
        self._positions = None if isinstance(samples, int) else Positions(tuple(dict.fromkeys(samples)))
        self._kept: list[tuple[Tensor, Tensor | None]] = []

    @torch.no_grad()
    def take(self, inputs: Tensor, index: Tensor | None = None) -> None:
        """Look at a batch, of which it may be known where it stands in the dataset."""
        if self._positions is not None:
            if index is not None:
                self._positions.take([inputs], index)
            return
        room = self._count - sum(len(kept) for kept, _ in self._kept)
        if room and (not self._kept or self._kept[0][0].shape[1:] == inputs.shape[1:]):
            self._kept.append((inputs[:room].detach().clone(), None if index is None else index[:room].clone()))

    @property
    def missing(self) -> list[int]:
        """Positions that did not come by."""
        return [] if self._positions is None else self._positions.missing

    def chosen(self) -> Chosen | None:
        """In order of appearance, or as the positions are given."""
        if self._positions is not None:
            found, columns = self._positions.read()
            return Chosen(columns[0], found) if found else None
        if not self._kept:
            return None
        index = (([None] * len(kept) if place is None else place.tolist()) for kept, place in self._kept)
        inputs = torch.cat([own(kept) for kept, _ in self._kept])
        return Chosen(inputs, tuple(position for some in index for position in some))
