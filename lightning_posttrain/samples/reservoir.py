"""A few samples to explain, taken from the batches as they go by."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from lightning_posttrain.samples.batch import ScoredBatch


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
    no second loader is read. Reads targets on the host until it is full.

    Args:
        count: how many.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._kept: list[tuple[int, Chosen]] = []
        self._spare: list[tuple[int, Chosen]] = []
        self._closed = False

    def offer(self, batch: ScoredBatch) -> None:
        """Take rows of classes that are still missing."""
        if self._closed or _other_shape(batch, [kept for _, kept in self._kept[:1] or self._spare[:1]]):
            return
        quota = -(-self._count // batch.num_classes)
        labels = batch.target.float().argmax(1) if batch.multilabel else batch.target
        usable = batch.counted.any(1) if batch.multilabel else batch.counted
        for i, (label, fine) in enumerate(zip(labels.tolist(), usable.tolist(), strict=True)):
            wanted = sum(kept == label for kept, _ in self._kept) < quota
            place = self._kept if wanted else self._spare
            if fine and len(place) < self._count:
                place.append((label, _rows(batch, i)))
            if len(self._kept) == self._count:
                self._close()
                return

    def _close(self) -> None:
        """End the choice: where classes are missing, others fill their room."""
        room = self._count - len(self._kept)
        self._kept = sorted([*self._kept, *self._spare[:room]], key=lambda pair: pair[0])
        self._spare, self._closed = [], True

    def chosen(self) -> Chosen | None:
        """In order of class."""
        if not self._closed:
            self._close()
        return joined([kept for _, kept in self._kept])


class IndexedSamples:
    """Those at some positions of the dataset, in that order."""

    def __init__(self, positions: Collection[int]) -> None:
        self._wanted = tuple(positions)
        self._found: dict[int, Chosen] = {}

    def offer(self, batch: ScoredBatch) -> None:
        """Take the rows that are wanted and not found yet."""
        if batch.index is None or len(self._found) == len(self._wanted):
            return
        if _other_shape(batch, list(self._found.values())[:1]):
            return
        usable = batch.counted.any(1) if batch.multilabel else batch.counted
        for i, (position, fine) in enumerate(zip(batch.index.tolist(), usable.tolist(), strict=True)):
            if fine and position in self._wanted and position not in self._found:
                self._found[position] = _rows(batch, i)

    @property
    def missing(self) -> list[int]:
        """Positions that did not come by with a class."""
        return [position for position in self._wanted if position not in self._found]

    def chosen(self) -> Chosen | None:
        """Those that came by."""
        return joined([self._found[position] for position in self._wanted if position in self._found])


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
        scores, target, index, inputs, *context = (_own(column[real]) for column in kept[1:])
        if not len(inputs):
            return None
        position = tuple(None if i < 0 else i for i in index.tolist())
        return Chosen(inputs, position, scores, target, tuple(context), self._single)


def _other_shape(batch: ScoredBatch, kept: Sequence[Chosen]) -> bool:
    """Whether inputs cannot stand beside those kept; the shape of the first counts."""
    if not kept:
        return False
    before, now = (kept[0].inputs, *kept[0].context), (batch.inputs, *batch.context)
    return [part.shape[1:] for part in before] != [part.shape[1:] for part in now]


def _rows(batch: ScoredBatch, i: int) -> Chosen:
    position = None if batch.index is None else int(batch.index[i])
    inputs, scores, target = (_own(part[i : i + 1]) for part in (batch.inputs, batch.scores, batch.target))
    context = tuple(_own(part[i : i + 1]) for part in batch.context)
    return Chosen(inputs, (position,), scores, target, context, batch.single)


def _own(tensor: Tensor) -> Tensor:
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


class FirstSamples:
    """The first of an epoch that is no classification, or some positions; the same in every epoch.

    Args:
        samples: how many, or positions in the dataset.
    """

    def __init__(self, samples: int | Sequence[int]) -> None:
        self._count = samples if isinstance(samples, int) else len(samples)
        self._wanted = None if isinstance(samples, int) else tuple(samples)
        self._kept: list[tuple[int | None, Tensor]] = []

    def take(self, inputs: Tensor, index: Tensor | None = None) -> None:
        """Look at a batch, of which it may be known where it stands in the dataset."""
        if len(self._kept) == self._count or (self._kept and self._kept[0][1].shape[1:] != inputs.shape[1:]):
            return
        positions = [None] * len(inputs) if index is None else index.tolist()
        there = {position for position, _ in self._kept}
        for i, position in enumerate(positions):
            wanted = self._wanted is None or (position in self._wanted and position not in there)
            if wanted and len(self._kept) < self._count:
                self._kept.append((position, _own(inputs[i : i + 1])))

    @property
    def missing(self) -> list[int]:
        """Positions that did not come by."""
        found = {position for position, _ in self._kept}
        return [position for position in self._wanted or () if position not in found]

    def chosen(self) -> Chosen | None:
        """In order of appearance, or as the positions are given."""
        if not self._kept:
            return None
        if self._wanted is not None:
            self._kept.sort(key=lambda pair: self._wanted.index(pair[0]))  # type: ignore[union-attr]
        return Chosen(torch.cat([inputs for _, inputs in self._kept]), tuple(position for position, _ in self._kept))
