"""Columns of a table in bins, so that "like the sample" has a meaning for numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_posttrain.explanations.perturbation.arguments import positions
from lightning_posttrain.explanations.result.rule import Condition, shortest

Scale = tuple[Sequence[float] | Tensor, Sequence[float] | Tensor]
"""Mean and standard deviation of each column, as a normalisation took them off."""
ROUNDED = 3e-7
"""Share of a mean and of what was taken from it that float32 may be wrong by."""
TELLING = 0.1
"""Where that is more, nothing can be said of whole numbers."""


@dataclass(frozen=True, eq=False)
class Bins:
    """Bins of columns, between quantiles of some rows; of a category each value is one, and so is NaN of any column.

    Args:
        cuts: upper ends of all bins but the last, ascending in each column ``(B - 1, F)``.
        categorical: columns whose values are categories.
    """

    cuts: Tensor
    categorical: tuple[int, ...] = ()

    def alike(self, rows: Tensor, sample: Tensor) -> Tensor:
        """Whether each value is in the bin of the sample's ``(N, F)``, bool.

        Args:
            rows: ``(N, F)``.
            sample: ``(F,)``.
        """
        low, high = self.ends(sample)
        found = (rows > low) & (rows <= high)
        for column in self.categorical:
            found[:, column] = rows[:, column] == sample[column]
        return torch.where(sample.isnan(), rows.isnan(), found)

    def ends(self, sample: Tensor) -> tuple[Tensor, Tensor]:
        """Ends of the sample's bins, each ``(F,)``; minus infinity and infinity where there is none."""
        low = torch.where(self.cuts < sample, self.cuts, -torch.inf).amax(0)
        high = torch.where(self.cuts >= sample, self.cuts, torch.inf).amin(0)
        return low, high

    def conditions(
        self, sample: Tensor, names: Sequence[str] = (), scale: Scale | None = None
    ) -> tuple[Condition, ...]:
        """What it is to be like the sample ``(F,)``, of each column."""
        low, high = (end.tolist() for end in self.ends(sample))
        made = []
        for column, value in enumerate(sample.tolist()):
            name = names[column] if names else f"feature {column}"
            if math.isnan(value):
                made.append(Condition(column, name, low=math.inf, missing=True))
            elif column in self.categorical:
                made.append(Condition(column, name, equal=unscaled(value, column, scale)))
            else:
                ends = (unscaled(end, column, scale) for end in (low[column], high[column]))
                made.append(Condition(column, name, *ends))
        return tuple(made)


def unscaled(value: float, column: int, scale: Scale | None) -> float | None:
    """A value in the units that it had before a normalisation; None where it is infinite.

    What is a whole number but for the rounding of float32 becomes one.

    Example:
        >>> unscaled(-0.6546537280082703, 0, ([0.3], [0.4582575757]))
        0.0
    """
    if math.isinf(value):
        return None
    if scale is None:
        return value
    mean, std = float(scale[0][column]), float(scale[1][column])
    raw = value * std + mean
    whole, error = (float(round(raw)) if math.isfinite(raw) else raw), ROUNDED * (abs(mean) + abs(raw - mean))
    return whole if abs(raw - whole) <= error < TELLING else raw


def between(low: float, high: float, column: int, scale: Scale | None) -> float | None:
    """What is written for a cut between two neighbouring values, so that ``≤`` tells them apart, with few decimals.

    The first one where both are whole numbers. None where it is infinite.

    Example:
        >>> between(0.98, 1.02, 0, ([40.0], [10.0])), between(-1.0, 0.0, 0, ([3.0], [1.0]))
        (50.0, 2.0)
    """
    first, second = unscaled(low, column, scale), unscaled(high, column, scale)
    if first is None or second is None or not first < second < math.inf:
        return first
    return first if first.is_integer() and second.is_integer() else shortest(first, second)


def bins_of(rows: Tensor, bins: int = 4, categorical: Sequence[int] = ()) -> Bins:
    """Bins with as many rows each, as far as values allow.

    Args:
        rows: ``(N, F)``.
        bins: how many.
        categorical: columns whose values are categories.

    Raises:
        ValueError: there is no row, there are less than 2 bins, or a column is not there.

    Example:
        >>> found = bins_of(torch.tensor([[1.0], [2.0], [3.0], [4.0]]), bins=2)
        >>> found.alike(torch.tensor([[0.0], [9.0]]), torch.tensor([2.0])).tolist()
        [[True], [False]]
        >>> print(*found.conditions(torch.tensor([2.0])))
        feature 0 ≤ 2.5
    """
    if rows.ndim != 2 or not len(rows):
        raise ValueError(f"`rows` are {tuple(rows.shape)}, wanted at least one row (N, F).")
    if bins < 2:
        raise ValueError(f"`bins` is {bins}, wanted at least 2.")
    columns = positions(categorical, None, rows.shape[1])
    shares = torch.arange(1, bins, device=rows.device, dtype=torch.float32) / bins
    # some columns at a time: torch takes quantiles of 2^24 values at most
    cuts = [part.nanquantile(shares, dim=0) for part in torch.split(rows.float(), max(1, 2**23 // len(rows)), dim=1)]
    return Bins(torch.cat(cuts, 1).to(rows.dtype), columns)
