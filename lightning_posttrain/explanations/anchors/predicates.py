"""What is true of one row of a table, and can be a condition of its rule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_posttrain.explanations.anchors.table import Cuts, Table
from lightning_posttrain.explanations.perturbation.bins import between, unscaled
from lightning_posttrain.explanations.result.rule import Condition

UP_TO, ABOVE, EQUAL = range(3)
AT_ONCE = 512
"""Predicates that are counted at a time: memory for many columns."""


@dataclass(frozen=True, eq=False)
class Predicates:
    """Predicates that are true of one row; each one is a range of places of one column.

    Args:
        table: the rows among which they hold or not.
        column: of each predicate ``(P,)``.
        start, stop: the places of the column that satisfy it, from one up to before the other ``(P,)``.
        kind: ``UP_TO``, ``ABOVE`` or ``EQUAL`` ``(P,)``.
        value: the cut, or the category ``(P,)``, float64.
        after: the next larger value than the cut, of the rows and the one row; of a category itself ``(P,)``, float64.
    """

    table: Table
    column: Tensor
    start: Tensor
    stop: Tensor
    kind: Tensor
    value: Tensor
    after: Tensor

    def __len__(self) -> int:
        return len(self.column)

    def __getitem__(self, which: Tensor | slice) -> Predicates:
        fields = (self.column, self.start, self.stop, self.kind, self.value, self.after)
        return Predicates(self.table, *(field[which] for field in fields))

    def hold(self, rows: Tensor | None = None) -> Tensor:
        """Which hold for which row, or for which of some ``(N, P)``, bool."""
        place = (self.table.place if rows is None else self.table.place[rows])[:, self.column]
        return (place >= self.start) & (place < self.stop)

    def telling(self, rows: Tensor, agree: Tensor, most: int) -> Predicates:
        """Those that alone go along most with the class: the search among thousands would be long.

        A predicate's figure is its correlation with the class. So one that says something only together with others
        may be left out.

        Args:
            rows: numbers of the rows to look at ``(n,)``.
            agree: which rows get the class ``(N,)``, bool.
            most: how many are kept, at most; all where there are no more.
        """
        if len(self) <= most:
            return self
        hits, counts = agree[rows].float(), []
        for part in torch.split(torch.arange(len(self)), AT_ONCE):
            hold = self[part].hold(rows).float()
            counts.append(torch.stack([hold.sum(0), hits @ hold]))
        held, right = torch.cat(counts, 1).double()
        spread = (held * (len(rows) - held)).sqrt()
        gain = torch.where(spread > 0, (right - held * hits.double().mean()) / spread, -torch.inf)
        return self[gain.argsort(descending=True, stable=True)[:most].sort().values]

    def implies(self) -> Tensor:
        """Whether one predicate makes another superfluous ``(P, P)``, bool: the same column, and fewer places."""
        start, stop = self.start, self.stop
        within = (start[:, None] >= start) & (stop[:, None] <= stop) & (self.column[:, None] == self.column)
        return within & ((stop - start)[:, None] < stop - start)

    def ranges(self, rules: Tensor) -> tuple[Tensor, Tensor]:
        """First places, and those after the last, of each column that rules ``(A, P)`` allow: twice ``(A, F)``."""
        rows, columns = self.table.place.shape
        start = torch.zeros(len(rules), columns, dtype=torch.int64, device=rules.device)
        stop = torch.full_like(start, rows)
        column = self.column.expand(len(rules), -1)
        start = start.scatter_reduce(1, column, torch.where(rules, self.start, 0), "amax")
        return start, stop.scatter_reduce(1, column, torch.where(rules, self.stop, rows), "amin")

    def conditions(
        self, rule: Tensor, names: Sequence[str], scale: tuple[Tensor, Tensor] | None
    ) -> tuple[Condition, ...]:
        """The conditions of a rule ``(P,)``, one for each of its columns."""
        found: dict[int, dict[int, float]] = {}
        for number in rule.nonzero()[:, 0].tolist():
            found.setdefault(int(self.column[number]), {})[int(self.kind[number])] = self._written(number, scale)
        return tuple(
            Condition(column, names[column], ends.get(ABOVE), ends.get(UP_TO), ends.get(EQUAL))
            for column, ends in sorted(found.items())
        )

    def _written(self, number: int, scale: tuple[Tensor, Tensor] | None) -> float:
        """A category, or a cut that tells the same rows apart, in the units from before the normalization."""
        column, value = int(self.column[number]), float(self.value[number])
        equal = int(self.kind[number]) == EQUAL
        told = unscaled(value, column, scale) if equal else between(value, float(self.after[number]), column, scale)
        return value if told is None else told


def predicates_of(x: Tensor, table: Table, cuts: Cuts, categorical: Tensor) -> Predicates:
    """Predicates that are true of a row ``(F,)``: on a side of each cut, or the category; none where it is NaN.

    Args:
        x: the row.
        table: the rows among which they hold or not.
        cuts: of its columns.
        categorical: which columns are categories ``(F,)``, bool; the values of the others have an order.
    """
    above = x > cuts.values
    usable = cuts.divides & ~categorical & ~x.isnan()
    first, last = table.at_most(x[None], below=True), table.at_most(x[None])
    seen = categorical & (last > first) & (last - first < len(table)) & ~x.isnan()
    zero = torch.zeros_like(cuts.below)
    after = table.columns.T.gather(0, cuts.below.clamp(max=len(table) - 1))
    after = torch.where(above, torch.minimum(after, x), after)
    parts = (
        (
            usable,
            torch.where(above, cuts.below, zero),
            torch.where(above, table.filled, cuts.below),
            cuts.values,
            after,
        ),
        (seen, first, last, x[None], x[None]),
    )
    chosen = [mask.nonzero(as_tuple=True) for mask, *_ in parts]
    kind = torch.cat([above[chosen[0]].long() * ABOVE, torch.full_like(chosen[1][1], EQUAL)])
    start, stop, value, after = (
        torch.cat([part[field][where] for part, where in zip(parts, chosen, strict=True)]) for field in (1, 2, 3, 4)
    )
    column = torch.cat([where[1] for where in chosen])
    return Predicates(table, column, start, stop, kind, value.double(), after.double())
