"""How a share changes between two models on the same rows."""

from __future__ import annotations

import math
from typing import NamedTuple

_QUANTILE = 1.959963984540054


class Change(NamedTuple):
    """A change of the share of right decisions and its 95 % interval; above 0 the exported model is better.

    Args:
        value: share of the exported model, less that of the tested one.
        low: lower end.
        high: upper end.
    """

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, gained: float, squares: float, rows: int) -> Change:
        """From sums over rows.

        The interval is that of Agresti and Min, 2005 (doi:10.1002/sim.1781): the normal one, after half a row was added
        to each cell of the table of right and wrong. So it has a width also where no row changes.

        Args:
            gained: sum over rows of what is right, less that of the tested model: -1, 0 or 1 where a row has one.
            squares: sum of their squares.
            rows: how many, at least one.

        Example:
            >>> change = Change.of(gained=0, squares=0, rows=397)
            >>> change.value, round(change.low, 4), round(change.high, 4)
            (0.0, -0.0049, 0.0049)
        """
        wide = rows + 2
        middle = gained / wide
        half = _QUANTILE * math.sqrt(max(squares + 1 - gained**2 / wide, 0.0)) / wide
        return cls(gained / rows, max(middle - half, -1.0), min(middle + half, 1.0))
