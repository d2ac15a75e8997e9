"""Rows of a table, each column in its order: what holds for a row, and how to draw rows for which something holds."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Table:
    """Rows ``(N, F)``, each column put in order, so that what holds for a stretch of values is a range of places.

    Args:
        ordered: the values of each column, rising, NaN last ``(N, F)``.
        place: where in its column the value of each row came ``(N, F)``, int64.
        filled: how many of each column are not NaN ``(F,)``.
        columns: ``ordered`` column by column, infinity for NaN ``(F, N)``.
    """

    ordered: Tensor
    place: Tensor
    filled: Tensor
    columns: Tensor

    @classmethod
    def of(cls, rows: Tensor) -> Table:
        """The table of rows ``(N, F)``."""
        ordered, order = rows.sort(0)
        columns = ordered.nan_to_num(torch.inf, torch.inf, -torch.inf).T.contiguous()
        return cls(ordered, order.argsort(0), (~rows.isnan()).sum(0), columns)

    def __len__(self) -> int:
        return len(self.ordered)

    @property
    def different(self) -> Tensor:
        """How many different values each column has, NaN being one ``(F,)``, int64."""
        return 1 + (self.columns[:, 1:] != self.columns[:, :-1]).sum(1)

    def at_most(self, values: Tensor, *, below: bool = False) -> Tensor:
        """How many of each column are up to values ``(V, F)``, or below them; NaN are none: ``(V, F)``, int64."""
        found = torch.searchsorted(self.columns, values.T.contiguous(), right=not below)
        return torch.minimum(found.T, self.filled)

    def draw(self, start: Tensor, stop: Tensor, rule: Tensor, generator: torch.Generator) -> Tensor:
        """Rows from those of the table, where what violates a rule is overwritten by other rows' values that do not.

        This is the distribution of the "anchor" package: each column for itself, so that columns which go together
        may come apart.

        Args:
            start: first place of each column that a rule allows ``(A, F)``.
            stop: the place after the last ``(A, F)``.
            rule: which rule each row is to keep ``(n,)``.
            generator: on the CPU.

        Returns:
            ``(n, F)``.
        """
        device, (rows, columns) = self.place.device, self.place.shape
        place = self.place[torch.randint(rows, (len(rule),), generator=generator).to(device)]
        share = torch.rand(len(rule), columns, generator=generator, dtype=torch.float64).to(device)
        first, end = start[rule], stop[rule]
        other = first + (share * (end - first)).long()
        return self.ordered.gather(0, torch.where((place >= first) & (place < end), place, other))


@dataclass(frozen=True, eq=False)
class Cuts:
    """Values at which columns are cut.

    Args:
        values: ``(B, F)``.
        below: how many of the column are up to each ``(B, F)``.
        divides: whether there are some on both sides, and it is no repetition ``(B, F)``, bool.
    """

    values: Tensor
    below: Tensor
    divides: Tensor


def cuts_of(table: Table, bins: int) -> Cuts:
    """Cuts of each column, at values that are there; none for a constant column.

    Into so many bins of equal number; a column of as many different values or fewer is cut between any two of them.

    Example:
        >>> table = Table.of(torch.tensor([[1.0, 5.0], [2.0, 5.0], [3.0, 5.0], [4.0, 5.0]]))
        >>> cuts_of(table, 2).divides.tolist(), cuts_of(table, 2).values[0, 0].item()
        ([[True, False]], 2.0)
        >>> cuts_of(Table.of(torch.tensor([[0.0]] * 98 + [[1.0], [2.0]])), 3).values.T.tolist()
        [[0.0, 1.0]]
    """
    shares = torch.arange(1, bins, dtype=torch.float64) / bins
    wanted = (shares[:, None].to(table.place.device) * table.filled).ceil().long() - 1
    values = table.ordered.gather(0, wanted.clamp(min=0))
    largest = table.ordered.gather(0, (table.filled - 1).clamp(min=0)[None])
    # a cut at the largest value divides nothing: the next smaller one does, as for a column of few zeros and many ones
    next_smaller = table.ordered.where(table.ordered < largest, -torch.inf).amax(0)
    values = torch.minimum(values, next_smaller)
    for column in (table.different <= bins).nonzero()[:, 0].tolist():
        few = torch.unique(table.ordered[: int(table.filled[column]), column])[:-1]
        if len(few):
            values[:, column] = few[torch.arange(bins - 1, device=few.device).clamp(max=len(few) - 1)]
    below = table.at_most(values)
    new = torch.ones_like(below, dtype=torch.bool)
    new[1:] = below[1:] != below[:-1]
    return Cuts(values, below, (below > 0) & (below < table.filled) & new)
