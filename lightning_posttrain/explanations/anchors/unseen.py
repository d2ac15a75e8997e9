"""What is true of a sample and of no row of a table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from lightning_posttrain.explanations.anchors.table import Table
from lightning_posttrain.explanations.perturbation.bins import between, unscaled
from lightning_posttrain.explanations.result.rule import Condition, Rule

Scale = tuple[Tensor, Tensor] | None


def with_unseen(
    rule: Rule, x: Tensor, table: Table, *, categorical: Tensor, names: Sequence[str], scale: Scale
) -> Rule:
    """A rule; or, where none was found for a sample unlike all rows, in what it is unlike them, without a precision.

    A category that no row has is reason enough; a value beyond all others only where no row of the rule gets the class.

    Args:
        rule: the best one.
        x: the sample ``(F,)``.
        table: the rows.
        categorical: which columns are categories ``(F,)``, bool.
        names: of the columns.
        scale: mean and standard deviation of each column, that undo a normalization.
    """
    if rule.found:
        return rule
    unlike = unseen_conditions(x, table, categorical=categorical, names=names, scale=scale)
    if not any(rule.precision == 0 or condition.equal is not None for condition in unlike):
        return rule
    return replace(
        rule, conditions=unlike, precision=math.nan, lower=0.0, rows=0, coverage=0.0, valid=False, observed=True,
        intervened=None, intervened_rows=0, draws=0.0, different=0,
    )  # fmt: skip


def unseen_conditions(
    x: Tensor, table: Table, *, categorical: Tensor, names: Sequence[str], scale: Scale
) -> tuple[Condition, ...]:
    """Categories of a row ``(F,)`` that no other has, and columns in which it lies beyond all others.

    Example:
        >>> import torch
        >>> table = Table.of(torch.tensor([[1.0, 0.2], [2.0, 0.9]]))
        >>> options = {"categorical": torch.tensor([True, False]), "names": ["kind", "size"], "scale": None}
        >>> print(*unseen_conditions(torch.tensor([3.0, 1.3]), table, **options))
        kind = 3 size > 1
    """
    below, up_to = table.at_most(x[None], below=True)[0], table.at_most(x[None])[0]
    known = (table.filled > 0) & ~x.isnan()
    found = []
    for column in (known & (below == up_to)).nonzero()[:, 0].tolist():
        value, count, name = float(x[column]), int(table.filled[column]), names[column]
        if categorical[column]:
            found.append(Condition(column, name, equal=unscaled(value, column, scale)))
        elif int(up_to[column]) == count:
            largest = float(table.ordered[count - 1, column])
            found.append(Condition(column, name, low=between(largest, value, column, scale)))
        elif not int(up_to[column]):
            found.append(Condition(column, name, high=between(value, float(table.ordered[0, column]), column, scale)))
    return tuple(found)
