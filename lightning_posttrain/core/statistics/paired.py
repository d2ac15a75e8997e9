"""Whether two classifiers that were asked of the same rows differ."""

from __future__ import annotations

import math
from typing import NamedTuple

_QUANTILE = 1.959963984540054


class PairedShares(NamedTuple):
    """How much more often the second of two is right than the first, on the same rows.

    Args:
        difference: of the two shares.
        low: lower end of its 95 % interval.
        high: upper end of it.
        p: of McNemar's exact test: how probable it is that two which are equally often right differ as much.
    """

    difference: float
    low: float
    high: float
    p: float


def mcnemar(first_alone: int, second_alone: int) -> float:
    """The two-sided exact p of McNemar's test; 1 where the two never differ.

    McNemar, 1947, doi:10.1007/BF02295996; the exact form is a binomial test of the rows on which they differ.

    Args:
        first_alone: rows that only the first has right.
        second_alone: rows that only the second has right.

    Example:
        >>> round(mcnemar(3, 14), 4)
        0.0127
    """
    rows, least = first_alone + second_alone, min(first_alone, second_alone)
    if not rows:
        return 1.0
    of_all = math.lgamma(rows + 1) - rows * math.log(2)
    terms = (of_all - math.lgamma(few + 1) - math.lgamma(rows - few + 1) for few in range(least + 1))
    return min(1.0, 2 * math.fsum(map(math.exp, terms)))


def paired_shares(both: int, first_alone: int, second_alone: int, neither: int) -> PairedShares:
    """The difference of two shares of the same rows, and what it may be by chance.

    The interval is that of the mean of differences by row, by the normal distribution.

    Args:
        both: rows that both have right.
        first_alone: that only the first has right.
        second_alone: that only the second has right.
        neither: that neither has right.

    Returns:
        NaN without rows; ends that are NaN for a single row.

    Example:
        >>> found = paired_shares(70, 3, 14, 13)
        >>> round(found.difference, 3), round(found.low, 3), round(found.high, 3)
        (0.11, 0.032, 0.188)
    """
    rows, p = both + first_alone + second_alone + neither, mcnemar(first_alone, second_alone)
    if not rows:
        return PairedShares(math.nan, math.nan, math.nan, p)
    mean = (second_alone - first_alone) / rows
    if rows == 1:
        return PairedShares(mean, math.nan, math.nan, p)
    spread = max((first_alone + second_alone) / rows - mean**2, 0.0)
    half = _QUANTILE * math.sqrt(spread / (rows - 1))
    return PairedShares(mean, mean - half, mean + half, p)
