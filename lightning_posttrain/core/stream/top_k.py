"""The rows of an epoch with the largest values, kept on the device with what they were made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

import torch
from torch import Tensor
from torch.nn import functional as F

UNKNOWN = -1
BUCKETS = 1 << 20
"""Groups that are counted apart, 4 MB; of more, some share a count."""
LARGEST_SIDE = 128
"""Larger images are kept smaller, by whole factors, which is what a gallery shows."""
Columns = Mapping[str, Tensor]


@final
class Hardest:
    """Keeps the ``count`` rows with the largest values, whatever the order in which they come.

    Of equal values the smaller position comes first, and of rows without a position the one that came first. With
    ``each``, at most so many of one group are kept, and of those that remain the ``count`` largest, which no order of
    rows changes either: whoever is kept in the end is among the kept of any part of the rows.

    With ``often``, groups that came more often so far go before others, whatever their values: where there are more
    groups than find room, those that come often late in the epoch have only their later rows.

    Nothing here waits for the device.

    Args:
        count: how many.
        each: how many of one group, or None.
        often: whether groups with many rows go before others.
    """

    def __init__(self, count: int, each: int | None = None, *, often: bool = False) -> None:
        self.count = count
        self.each = each
        self.often = often
        self._times: Tensor | None = None
        self._facts: dict[str, Tensor] = {}
        self._store: dict[str, Tensor] = {}

    @torch.no_grad()
    def offer(self, value: Tensor, index: Tensor | None, columns: Columns, group: Tensor | None = None) -> None:
        """Look at rows.

        Args:
            value: ``(N,)``; rows with ``-inf`` are not wanted.
            index: position in the dataset ``(N,)``, or None.
            columns: what is kept of each row, by name ``(N, ...)``; of the same shape in each call. One that is not
                given any more is kept of none.
            group: of each row ``(N,)``, int64.
        """
        if not len(value):
            return
        known = index is not None
        place = index if index is not None else torch.full((len(value),), UNKNOWN, device=value.device)
        found = {"value": value, "place": place}
        if self.each is not None or self.often:
            found["group"] = torch.zeros_like(place) if group is None else group
        self._count(found)
        before = self._facts
        both = {name: torch.cat([before[name], column]) for name, column in found.items()} if before else found
        order = self._best(both, known=known)
        slot = self._slots(order)
        self._put(columns, order, slot, len(value))
        self._facts = {**{name: column[order] for name, column in both.items()}, "slot": slot}

    def _slots(self, order: Tensor) -> Tensor:
        """The slot of each row that is kept: its own, or a free one."""
        if not self._facts:
            return torch.arange(len(order), device=order.device)
        before = self._facts["slot"]
        old, own = order < len(before), before[order.clamp(max=len(before) - 1)]
        # the last slot is nobody's: to choose rows by a mask would make the host wait
        taken = torch.zeros(self.count + 1, dtype=torch.int64, device=order.device)
        taken.scatter_(0, torch.where(old, own, self.count), 1)
        free = taken[: self.count].argsort(stable=True)
        return torch.where(old, own, free[(~old).cumsum(0) - 1])

    def _put(self, columns: Columns, order: Tensor, slot: Tensor, rows: int) -> None:
        """Put the columns of the rows that are kept into their slots, and others into the last, which is nobody's."""
        if not self._facts:
            with torch.inference_mode(False):
                self._store = {name: c.new_zeros(self.count + 1, *c.shape[1:]) for name, c in columns.items()}
        kept = len(self._facts["slot"]) if self._facts else 0
        self._store = {name: store for name, store in self._store.items() if name in columns}
        if rows <= self.count:
            chosen = None
            into = torch.full((kept + rows,), self.count, device=order.device).scatter_(0, order, slot)[kept:]
        else:
            chosen, into = (order - kept).clamp_(min=0), torch.where(order < kept, self.count, slot)
        for name, store in self._store.items():
            column = columns[name].detach()
            store.index_copy_(0, into, (column if chosen is None else column[chosen]).to(store.dtype))

    def _count(self, found: Columns) -> None:
        """How often each group came so far."""
        if self.often:
            if self._times is None:
                with torch.inference_mode(False):
                    self._times = torch.zeros(BUCKETS, dtype=torch.int32, device=found["value"].device)
            self._times.index_add_(0, found["group"] % BUCKETS, (found["value"] > -torch.inf).int())

    def _best(self, found: Columns, *, known: bool) -> Tensor:
        """The rows to keep, the largest first; where positions are not known, what came first comes first."""
        value = found["value"]
        order = found["place"].argsort(stable=True) if known else torch.arange(len(value), device=value.device)
        order = order[value[order].argsort(descending=True, stable=True)]
        if self.each is not None:
            if self._times is not None:
                order = order[self._times[found["group"][order] % BUCKETS].argsort(descending=True, stable=True)]
            rank = rank_in_group(found["group"][order])
            # those that are too many of their group come last
            order = order[(rank >= self.each).long().argsort(stable=True)]
        return order[: self.count]

    def take(self) -> dict[str, Tensor]:
        """What was kept, on the CPU, the largest first, with ``value``, ``place`` and ``group``; then begin anew."""
        facts, store, self._facts, self._store, self._times = self._facts, self._store, {}, {}, None
        if not facts:
            return {}
        with torch.inference_mode(False):
            found = {name: column.cpu().clone() for name, column in facts.items()}
            slot = found.pop("slot")
            found.update({name: column.cpu()[slot].clone() for name, column in store.items()})
        found.setdefault("group", torch.zeros_like(found["place"]))
        wanted = found["value"] > -torch.inf
        if self.each is not None:
            wanted &= rank_in_group(found["group"]) < self.each
        return {name: column[wanted] for name, column in found.items()}


def rank_in_group(group: Tensor) -> Tensor:
    """How many rows of the same group come before each ``(N,)``."""
    order = group.argsort(stable=True)
    sorted_ = group[order]
    number = torch.arange(len(group), device=group.device) - torch.searchsorted(sorted_, sorted_)
    return torch.empty_like(number).scatter_(0, order, number)


def thumbnails(images: Tensor, dim: int | None) -> Tensor:
    """Images ``(N, ...)`` with sides of 128 pixels at most, as means over blocks.

    Args:
        images: ``(N, C, H, W)``, ``(N, H, W, C)`` or ``(N, H, W)``.
        dim: the dimension of the channels, or None.

    Example:
        >>> thumbnails(torch.zeros(2, 512, 300, 3), 3).shape
        torch.Size([2, 128, 75, 3])
    """
    sides = [n for d, n in enumerate(images.shape) if d not in (0, dim)]
    factor = -(-max(sides) // LARGEST_SIDE)
    if factor < 2:
        return images
    maps = images.unsqueeze(1) if dim is None else images.movedim(dim, 1)
    maps = maps if maps.is_floating_point() else maps / 255
    small = F.avg_pool2d(maps, min(factor, *sides))
    return small.squeeze(1) if dim is None else small.movedim(1, dim)
