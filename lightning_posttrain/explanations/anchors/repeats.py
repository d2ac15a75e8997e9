"""Rows of a table that are equal: draws of their own, or copies of one draw."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_posttrain.explanations.anchors.beam import weights
from lightning_posttrain.explanations.anchors.table import Table


@dataclass(frozen=True, eq=False)
class Repeats:
    """Which rows of a table are draws of their own, and which are copies of one.

    All rows count in a precision. How sure it is depends on how many draws they are from: a measurement hardly ever
    comes twice, so rows that are equal in one are copies; of rows that have discrete columns only equal ones come by
    themselves, and each is a draw.

    Args:
        keys: the same for equal rows, as of ``row_keys`` ``(N,)``.
        draw: number of the draw that each row is from, by first appearance ``(N,)``, int64.
        copied: whether equal rows are copies of one draw.
    """

    keys: Tensor
    draw: Tensor
    copied: bool

    @classmethod
    def of(cls, rows: Tensor, table: Table, categorical: Tensor) -> Repeats:
        """Repeats among rows.

        Args:
            rows: ``(N, F)``.
            table: the same.
            categorical: columns that are discrete as was said ``(F,)``, bool.

        Example:
            >>> rows = torch.tensor([[0.13, 1.0], [0.27, 1.0], [0.13, 1.0]])
            >>> found = Repeats.of(rows, Table.of(rows), torch.tensor([False, True]))
            >>> found.copied, found.draw.tolist()
            (True, [0, 1, 0])
        """
        keys = row_keys(rows)
        first, draw = _first_and_number(keys)
        # nothing is learned from a table of one row, however often it comes
        copied = len(first) == 1 or not bool((categorical | discrete_columns(table)).all())
        return cls(keys, draw if copied else torch.arange(len(keys), device=keys.device), copied)

    @property
    def same(self) -> bool:
        """Whether all rows are equal."""
        return bool((self.keys == self.keys[0]).all())

    def different(self, which: Tensor) -> int:
        """How many different rows there are among some ``(N,)``, bool."""
        return len(torch.unique(self.keys[which]))

    def split(self, share: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Numbers of rows in two parts, in random order; the first from so large a share of the draws, or from one.

        All copies of a draw are in one part, and what comes often is more likely to be in the first (Efraimidis and
        Spirakis, 2006, doi:10.1016/j.ipl.2005.11.003): a search that has not seen it would know little of the rows.
        """
        often = self.draw.bincount()
        even = (torch.randperm(len(often), generator=generator).argsort() + 0.5) / len(often)
        race = -(-even.double()).log1p() / often
        rank = race.argsort().argsort()[self.draw]
        order = rank.argsort(stable=True)
        at = int((rank < max(1, round(share * len(often)))).sum())
        return order[:at], order[at:]

    def without(self, x: Tensor, parts: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Two parts of the rows without a row ``(F,)`` itself, which would confirm whatever is said of it.

        Its copies go too. Of equal draws one goes, of the second part if it may be.
        """
        equal = [self.keys[part] == row_keys(x[None]) for part in parts]
        if not self.copied:
            both = torch.cat(equal)
            both &= both.flip(0).cumsum(0).flip(0) == 1
            equal = [both[: len(parts[0])], both[len(parts[0]) :]]
        return parts[0][~equal[0]], parts[1][~equal[1]]


def discrete_columns(table: Table) -> Tensor:
    """Which columns are discrete ``(F,)``, bool: each of their values comes as often as there are values, on average.

    So 2 values in 4 rows or more, 10 in 100 rows, 100 in 10,000.

    Example:
        >>> discrete_columns(Table.of(torch.arange(100.0)[:, None] % torch.tensor([10, 11]))).tolist()
        [True, False]
    """
    return table.different**2 <= len(table)


def row_keys(rows: Tensor) -> Tensor:
    """A number for each row ``(N, F)`` that is the same for equal rows, and hardly ever for others: ``(N,)``, int64.

    Missing values are equal, and 0 and -0 as well.

    Example:
        >>> keys = row_keys(torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, -0.0]]).double())
        >>> [bool(keys[0] == key) for key in keys]
        [True, False, True]
    """
    random = weights(rows.shape[1]).to(rows.device)

    def key(part: Tensor) -> Tensor:
        bits = part.masked_fill(part.isnan(), torch.nan).add(0.0).view(torch.int64)
        # round numbers differ in their high bits only, which a product would push out
        return ((bits ^ (bits >> 32) ^ (bits >> 52)) * random).sum(1)

    return torch.cat([key(part) for part in torch.split(rows.double(), 1024)])


def _first_and_number(keys: Tensor) -> tuple[Tensor, Tensor]:
    """Where each of the different keys comes first, rising, and the number of each key ``(N,)`` in that order."""
    kinds, kind = torch.unique(keys, return_inverse=True)
    place = torch.arange(len(keys), device=keys.device)
    first = place.new_full((len(kinds),), len(keys)).scatter_reduce(0, kind, place, "amin")
    order = first.argsort()
    return first[order], order.argsort()[kind]
