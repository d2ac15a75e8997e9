"""What is counted of probabilities and outcomes, in bins and in all, some rows at a time."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_posttrain.classification import ROUNDING, bin_of_probability

_AT_ONCE = 1 << 20


class Tally(NamedTuple):
    """What lies in each bin: entries, those that came true, and sums of their probabilities; each ``(..., B)``."""

    rows: Tensor
    said: Tensor
    squares: Tensor
    true: Tensor
    said_of_true: Tensor

    @property
    def distance(self) -> Tensor:
        """Between the sums of what was said and of what came true."""
        return (self.said - self.true).abs()


class Entries(NamedTuple):
    """Probabilities ``(M,)`` float64 of events, and whether each came true ``(M,)`` bool."""

    said: Tensor
    true: Tensor


def tally(entries: Entries, place: Tensor, size: int) -> Tally:
    """What lies in each of ``size`` bins, of entries whose bins ``(M,)`` are known."""
    said, true = entries

    def sums(at: Tensor, weights: Tensor | None = None) -> Tensor:
        return torch.bincount(at, weights, minlength=size).double()

    there = place[true]
    return Tally(sums(place), sums(place, said), sums(place, said.square()), sums(there), sums(there, said[true]))


class _Above(NamedTuple):
    """Probabilities above the lowest bin, whether what they are of came true, and in which bin of a column."""

    said: Tensor
    true: Tensor
    place: Tensor


class Sums:
    """What is summed over pieces of rows, whose probabilities are float64.

    Of many classes nearly all have a probability in the lowest bin, so that is what the others leave of the whole.

    Args:
        columns: ``K``.
        edges: of the bins ``(B + 1,)``.
        labels: whether the columns are labels, or class 1 alone.
        device: where the rows are; what is sorted into bins is brought from there, a few numbers a row.
    """

    def __init__(self, columns: int, edges: Tensor, *, labels: bool, device: torch.device) -> None:
        self.decisions: list[Entries] = []
        self.losses: list[Tensor] = []
        self._columns, self._bins, self._edge, self._labels = columns, len(edges) - 1, float(edges[1]), labels
        self._whole = Tally(*torch.zeros(5, columns, dtype=torch.float64, device=device))
        self._own: list[tuple[Tensor, Tensor]] = []
        self._high = torch.zeros(5, columns * self._bins, dtype=torch.float64)
        self._above: list[_Above] = []
        self._waiting = 0

    def add(self, said: Tensor, target: Tensor) -> None:
        """Add rows ``(n, K)``."""
        counted = said.where(target >= 0, 0.0) if self._labels else said
        self._add_whole(counted, target)
        self._above.append(self._high_ones(counted, target))
        self._waiting += len(self._above[-1].said)
        self.decisions.append(_decisions(said, target, labels=self._labels))
        # a tally is as long as there are bins of columns, so it is seldom made
        if self._waiting > _AT_ONCE:
            self._count()

    def _add_whole(self, said: Tensor, target: Tensor) -> None:
        whole = self._whole
        whole.said.add_(said.sum(dim=0))
        whole.squares.add_(torch.linalg.vecdot(said, said, dim=0))
        if self._labels:
            true = target == 1
            whole.rows.add_((target >= 0).sum(dim=0))
            whole.true.add_(true.sum(dim=0))
            whole.said_of_true.add_(said.where(true, 0.0).sum(dim=0))
        else:
            whole.rows.add_(len(target))
            self._own.append((target, said.gather(1, target[:, None])[:, 0]))

    def _high_ones(self, said: Tensor, target: Tensor) -> _Above:
        place = (said > self._edge + ROUNDING).view(-1).nonzero()[:, 0]
        values, column = said.reshape(-1)[place], place % self._columns
        own = target.reshape(-1)[place] if self._labels else target[place // self._columns]
        came = own == 1 if self._labels else own == column
        return _Above(values, came, bin_of_probability(values, self._bins) + column * self._bins)

    def _count(self) -> None:
        values, came, place = joined(self._above)
        self._above, self._waiting = [], 0
        self._high += torch.stack(tally(Entries(values, came), place, self._columns * self._bins))

    def tallies(self) -> Tally:
        """What lies in each bin of each column ``(K, B)``."""
        self._count()
        whole = Tally(*torch.stack(self._whole).cpu())
        if self._own:
            target, own = joined(self._own)
            for total, weights in ((whole.true, None), (whole.said_of_true, own)):
                total.add_(torch.bincount(target, weights, minlength=self._columns))
        total = self._high.view(len(whole), self._columns, self._bins)
        total[:, :, 0] = torch.stack(whole) - total[:, :, 1:].sum(dim=2)
        return Tally(*total)


def joined(parts: Iterable[Iterable[Tensor]]) -> list[Tensor]:
    """Columns of pieces, each one after the other, on the CPU."""
    return [torch.cat(column).cpu() for column in zip(*parts, strict=True)]


def _decisions(said: Tensor, target: Tensor, *, labels: bool) -> Entries:
    if labels:
        counted = target >= 0
        return Entries(said[counted], target[counted] == 1)
    if not len(said):
        return Entries(said.new_zeros(0), target == 0)
    confidence, predicted = said.max(dim=1)
    return Entries(confidence, predicted == target)
