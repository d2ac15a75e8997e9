"""Rows of batches that are kept in slots on the device, chosen without a look at a value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor


@final
class Slots:
    """Rows in numbered slots.

    The last slot is nobody's and takes what is not kept: to choose rows by a mask would make the host wait.

    Args:
        count: slots.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._columns: tuple[Tensor, ...] = ()

    def fits(self, columns: Sequence[Tensor]) -> bool:
        """Whether rows can stand beside those that are there."""
        return not self._columns or [c.shape[1:] for c in self._columns] == [c.shape[1:] for c in columns]

    @torch.no_grad()
    def put(self, columns: Sequence[Tensor], rows: Tensor, slots: Tensor) -> None:
        """Put some rows of columns ``(N, ...)`` into slots, each as long as ``rows``; ``count`` keeps none."""
        given = [column.detach().to(slots.device) for column in columns]
        if not self._columns:
            with torch.inference_mode(False):  # what is made in inference mode could not be changed outside it
                self._columns = tuple(column.new_zeros(self.count + 1, *column.shape[1:]) for column in given)
        for store, column in zip(self._columns, given, strict=True):
            store.index_copy_(0, slots, column[rows].to(store.dtype))

    def read(self, slots: Sequence[int]) -> tuple[Tensor, ...]:
        """The columns of some slots, on the CPU."""
        with torch.inference_mode(False):  # a copy made in it could not be differentiated
            rows = torch.tensor(slots, dtype=torch.int64)
            return tuple(column[rows.to(column.device)].cpu().clone() for column in self._columns)


@final
class Positions:
    """Rows at some positions of the dataset, each the first time that it comes by.

    Args:
        wanted: positions.
    """

    def __init__(self, wanted: Sequence[int]) -> None:
        self.wanted = tuple(wanted)
        self._slots = Slots(len(self.wanted))
        self._positions: Tensor | None = None
        self._there: Tensor | None = None
        self._begun = self._complete = False

    @torch.no_grad()
    def take(self, columns: Sequence[Tensor], index: Tensor, usable: Tensor | None = None) -> None:
        """Look at rows ``(N, ...)`` at positions ``(N,)``, of which some are usable ``(N,)``."""
        if self._complete or not len(index) or not self._fit(columns):
            return
        if self._positions is None or self._there is None:
            with torch.inference_mode(False):
                self._positions = torch.tensor(self.wanted, device=index.device)
                self._there = torch.zeros_like(self._positions, dtype=torch.bool)
        here = index == self._positions[:, None]
        here = here if usable is None else here & usable
        rows = torch.arange(len(index), device=index.device)
        first = torch.where(here, rows, len(index)).amin(1)
        new = (first < len(index)) & ~self._there
        slots = torch.arange(self._slots.count, device=index.device)
        self._slots.put(columns, first.clamp(max=len(index) - 1), torch.where(new, slots, self._slots.count))
        self._there = self._there | new

    def _fit(self, columns: Sequence[Tensor]) -> bool:
        """Whether rows can stand beside those that were found; the first that is found says how they look."""
        fits = self._slots.fits(columns)
        if not fits and not self._begun:
            self._begun = bool(self.found())
            if not self._begun:
                self._slots, fits = Slots(self._slots.count), True
        return fits

    def found(self) -> list[int]:
        """Numbers of the positions that were found; waits for the device."""
        there = [] if self._there is None else self._there.tolist()
        self._complete = bool(there) and all(there)
        return [number for number, seen in enumerate(there) if seen]

    @property
    def missing(self) -> list[int]:
        """Positions that were not found."""
        found = {self.wanted[number] for number in self.found()}
        return [position for position in self.wanted if position not in found]

    def read(self) -> tuple[tuple[int, ...], tuple[Tensor, ...]]:
        """The positions that were found, in the order of ``wanted``, and the columns of their rows."""
        found = self.found()
        return tuple(self.wanted[number] for number in found), self._slots.read(found)
