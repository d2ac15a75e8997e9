"""A few samples to explain, taken from the batches as they go by."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from lightning_posttrain.core.stream.top_k import rank_in_group
from lightning_posttrain.samples.batch import ScoredBatch
from lightning_posttrain.samples.slots import Positions, Slots


@dataclass(frozen=True, eq=False)
class Chosen:
    """Samples on the CPU: inputs ``(K, ...)``, dataset positions, the step's scores ``(K, C)`` and targets, or None.

    ``context`` is what the network was given beside, each ``(K, ...)``. ``single``: the scores of two classes are minus
    and plus a half of the one logit that the network gave.
    """

    inputs: Tensor
    index: tuple[int | None, ...]
    scores: Tensor | None = None
    target: Tensor | None = None
    context: tuple[Tensor, ...] = ()
    single: bool = False

    def only(self, which: Sequence[int]) -> Chosen:
        """Some of them."""
        rows = list(which)
        scores, target = (None if part is None else part[rows] for part in (self.scores, self.target))
        context = tuple(part[rows] for part in self.context)
        index = tuple(self.index[row] for row in rows)
        return Chosen(self.inputs[rows], index, scores, target, context, self.single)


class Samples(Protocol):
    """Chooses samples while an epoch goes by."""

    def offer(self, batch: ScoredBatch) -> None:
        """Look at a batch; its ``inputs`` are a tensor ``(N, ...)``."""

    def chosen(self) -> Chosen | None:
        """What was chosen, at the end of an epoch; None where there is nothing."""


class FixedSamples:
    """The same in every epoch: as many of each class as there is room for, in order of class.

    The first epoch chooses; later ones change nothing. So the choice depends on the loader's first order alone, and
    no second loader is read. Values are looked at after the first batch, which may fill it, and at the end.

    Args:
        count: how many.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._slots = Slots(2 * count)  # the second half for repeats of a class
        self._single = False
        self._of_class: Tensor | None = None
        self._held: Tensor | None = None
        self._chosen: Chosen | None = None
        self._begun = self._closed = False

    @torch.no_grad()
    def offer(self, batch: ScoredBatch) -> None:
        """Take rows of classes that are still missing."""
        columns = _columns(batch)
        if self._closed or not self._fits(columns):
            return
        if self._of_class is not None:
            self._take(batch, columns)
            return
        self._single = batch.single
        with torch.inference_mode(False):
            self._of_class = batch.target.new_zeros(batch.num_classes)
            self._held = batch.target.new_zeros(2)
        self._take(batch, columns)
        kept, spare = self._held.tolist()
        self._begun = kept + spare > 0
        if kept == self._count:
            self._close()

    def _fits(self, columns: Sequence[Tensor]) -> bool:
        """Whether rows can stand beside those kept; the first that is kept says how they look."""
        fits = self._slots.fits(columns)
        if not fits and not self._begun and self._held is not None:
            self._begun = bool(self._held.any())
            if not self._begun:
                self._slots, self._of_class, fits = Slots(2 * self._count), None, True
        return fits

    def _take(self, batch: ScoredBatch, columns: Sequence[Tensor]) -> None:
        assert self._of_class is not None
        assert self._held is not None
        usable, label = _usable(batch), columns[4].clamp(0, batch.num_classes - 1)
        before = self._of_class[label] + rank_in_group(torch.where(usable, label, batch.num_classes))
        missing = before < -(-self._count // batch.num_classes)
        places = torch.stack([usable & missing, usable & ~missing])  # in either half
        number = self._held[:, None] + places.cumsum(1) - 1
        first, second = torch.where(places & (number < self._count), number, 2 * self._count)
        slots = torch.minimum(first, second + self._count).clamp(max=2 * self._count)
        rows = slots.argsort(stable=True)[: 2 * self._count]
        self._slots.put(columns, rows, slots[rows])
        self._of_class.index_add_(0, label, places[0].long())
        self._held = (self._held + places.sum(1)).clamp(max=self._count)

    def _close(self) -> None:
        """End the choice: where classes are missing, others fill their room."""
        self._closed = True
        if self._held is None:
            return
        kept, spare = self._held.tolist()
        others = range(self._count, self._count + min(spare, self._count - kept))
        columns = self._slots.read([*range(kept), *others])
        if len(columns[0]):
            with torch.inference_mode(False):  # a copy made in it could not be differentiated
                order = columns[4].argsort(stable=True)
                self._chosen = _chosen([column[order] for column in columns], single=self._single)
        self._slots = Slots(0)

    def chosen(self) -> Chosen | None:
        """In order of class."""
        if not self._closed:
            self._close()
        return self._chosen


class IndexedSamples:
    """Those at some positions of the dataset, in that order."""

    def __init__(self, positions: Collection[int]) -> None:
        self._positions = Positions(tuple(positions))
        self._single = False

    def offer(self, batch: ScoredBatch) -> None:
        """Take the rows that are wanted and not found yet."""
        if batch.index is not None:
            self._single = batch.single
            self._positions.take(_columns(batch), batch.index, _usable(batch))

    @property
    def missing(self) -> list[int]:
        """Positions that did not come by with a class."""
        return self._positions.missing

    def chosen(self) -> Chosen | None:
        """Those that came by."""
        found, columns = self._positions.read()
        return _chosen(columns, single=self._single) if found else None


class RankedSamples:
    """The most confident of each epoch, among errors or in one cell of the confusion matrix; on the device, unread.

    Args:
        count: how many.
        cell: actual and predicted class; None for all errors.
    """

    def __init__(self, count: int, cell: tuple[int, int] | None = None) -> None:
        self._count = count
        self._cell = cell
        self._kept: tuple[Tensor, ...] = ()
        self._single = False

    def offer(self, batch: ScoredBatch) -> None:
        """Keep the best of what was kept and of the batch; of equal ones the first."""
        given, self._single = (batch.inputs, *batch.context), batch.single
        if self._kept and [part.shape[1:] for part in self._kept[4:]] != [part.shape[1:] for part in given]:
            return
        if self._cell is None:
            wanted = batch.predicted != batch.target
        else:
            wanted = (batch.target == self._cell[0]) & (batch.predicted == self._cell[1])
        probability = batch.scores.detach().softmax(1).amax(1)
        rank = probability.masked_fill(~(wanted & batch.counted), -torch.inf)
        index = torch.full_like(batch.target, -1) if batch.index is None else batch.index
        best = self._best((rank, batch.scores.detach(), batch.target, index, *(part.to(rank.device) for part in given)))
        together = tuple(map(torch.cat, zip(self._kept, best, strict=True))) if self._kept else best
        self._kept = self._best(together)

    def _best(self, columns: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        order = columns[0].sort(descending=True, stable=True).indices[: self._count]
        return tuple(column[order] for column in columns)

    def chosen(self) -> Chosen | None:
        """The most confident first; the next epoch begins anew."""
        kept, self._kept = self._kept, ()
        if not kept:
            return None
        real = kept[0].isfinite()
        scores, target, index, inputs, *context = (own(column[real]) for column in kept[1:])
        if not len(inputs):
            return None
        position = tuple(None if i < 0 else i for i in index.tolist())
        return Chosen(inputs, position, scores, target, tuple(context), self._single)


def _columns(batch: ScoredBatch) -> list[Tensor]:
    """Inputs, scores, targets, positions or -1, labels of one number, and what the network was given beside."""
    label = batch.target.float().argmax(1) if batch.multilabel else batch.target
    index = torch.full_like(label, -1) if batch.index is None else batch.index
    return [batch.inputs, batch.scores, batch.target, index, label, *batch.context]


def _usable(batch: ScoredBatch) -> Tensor:
    return batch.counted.any(1) if batch.multilabel else batch.counted


def _chosen(columns: Sequence[Tensor], *, single: bool) -> Chosen:
    inputs, scores, target, index, _, *context = columns
    positions = tuple(None if position < 0 else position for position in index.tolist())
    return Chosen(inputs, positions, scores, target, tuple(context), single)


def own(tensor: Tensor) -> Tensor:
    """A copy on the CPU that nothing else changes."""
    with torch.inference_mode(False):  # a copy made in it could not be differentiated
        return tensor.detach().cpu().clone()


def joined(parts: Sequence[Chosen]) -> Chosen | None:
    """All samples of several choices; None for no choice."""
    if not parts:
        return None
    inputs = torch.cat([part.inputs for part in parts])
    index = tuple(position for part in parts for position in part.index)
    scores, target = ([getattr(part, name) for part in parts] for name in ("scores", "target"))
    context = tuple(map(torch.cat, zip(*(part.context for part in parts), strict=True)))
    return Chosen(inputs, index, torch.cat(scores), torch.cat(target), context, parts[0].single)
