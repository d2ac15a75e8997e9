"""Differences of strategies on the same rows, with what they may be by chance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

ROUGH = 200
"""Fewer rows than these make an interval rough: of 95 % ones about 91 % hold the truth at 100 rows."""
_QUANTILE = 1.959963984540054


@final
@dataclass(frozen=True, eq=False)
class PairedMoments:
    """Sums of differences by row, and of their squares, which add over batches and ranks.

    An interval of differences is about a third as wide as one of two figures would be, as strategies err on the same
    rows. Negative means of losses say that a strategy is better than what it is compared with.

    Args:
        total: sum of differences ``(S,)`` float64, one for each strategy.
        squares: sum of their squares ``(S,)``.
        rows: how many, independent of each other.

    Example:
        >>> found = PairedMoments.of(torch.tensor([[1.0, 0.5], [3.0, 2.5]]), reference=0)
        >>> found.mean.tolist(), found.rough
        ([0.0, -0.5], True)
    """

    total: Tensor
    squares: Tensor
    rows: int

    @classmethod
    def of(cls, figures: Tensor, reference: int) -> PairedMoments:
        """The sums of figures by row ``(N, S)``, such as losses, less those of one strategy."""
        figures = figures.double()
        difference = figures - figures[:, reference, None]
        return cls(difference.sum(dim=0), difference.square().sum(dim=0), len(figures))

    def __add__(self, other: PairedMoments) -> PairedMoments:
        return PairedMoments(self.total + other.total, self.squares + other.squares, self.rows + other.rows)

    @property
    def mean(self) -> Tensor:
        """The mean difference ``(S,)``; NaN without rows."""
        return _mean(self.total, self.rows)

    @property
    def error(self) -> Tensor:
        """The standard error of the mean difference ``(S,)``; NaN for fewer than two rows."""
        if self.rows < 2:
            return torch.full_like(self.total, torch.nan)
        spread = (self.squares - self.total.square() / self.rows).clamp(min=0)
        return (spread / (self.rows - 1) / self.rows).sqrt()

    @property
    def rough(self) -> bool:
        """Whether the rows are too few for the interval to be taken at its word."""
        return self.rows < ROUGH

    def interval(self, *, independent: bool = True) -> Tensor | None:
        """Both ends ``(S, 2)`` of a 95 % interval of the mean difference, by the normal distribution.

        Args:
            independent: whether rows are independent of each other; those of pixels are not, and have no interval.
        """
        return _interval(self.mean, self.error) if independent and self.rows > 1 else None


@final
@dataclass(frozen=True, eq=False)
class GroupedMoments:
    """Sums of differences by sample, where a sample has some rows, as an image has pixels; they add over batches.

    The mean is over rows, so that it is the difference of two figures over rows; its error is of samples, as
    ``paired_error`` of their groups.

    Args:
        total: sum over rows of differences ``(S,)`` float64, one for each strategy.
        squares: sum over samples of the square of their own sums ``(S,)``.
        products: sum over samples of their own sums, times their rows ``(S,)``.
        samples: how many.
        rows: how many.
        rows_squared: sum over samples of the square of their rows.
    """

    total: Tensor
    squares: Tensor
    products: Tensor
    samples: int
    rows: int
    rows_squared: int

    @property
    def mean(self) -> Tensor:
        """The mean difference over rows ``(S,)``; NaN without rows."""
        return _mean(self.total, self.rows)

    @property
    def error(self) -> Tensor:
        """The standard error of the mean difference ``(S,)``; NaN for fewer than two samples."""
        if self.samples < 2:
            return torch.full_like(self.total, torch.nan)
        about = self.squares - 2 * self.mean * self.products + self.mean.square() * self.rows_squared
        return (about.clamp(min=0) * self.samples / (self.samples - 1)).sqrt() / self.rows

    def interval(self) -> Tensor | None:
        """Both ends ``(S, 2)`` of a 95 % interval of the mean difference, by the normal distribution."""
        return _interval(self.mean, self.error) if self.samples > 1 else None


def paired_error(difference: Tensor, groups: Tensor | None = None) -> Tensor:
    """The standard error ``(S,)`` of the mean of differences by row ``(R, S)``, rows of a group not independent.

    Args:
        difference: by row.
        groups: the group of each row ``(R,)``, any integers; each row for itself where it is left out.

    Example:
        >>> difference = torch.tensor([[0.0], [1.0], [0.0], [1.0]])
        >>> paired_error(difference).item() < paired_error(difference, torch.tensor([0, 1, 0, 1])).item()
        True
    """
    about = difference - difference.mean(dim=0)
    if groups is not None:
        number, index = torch.unique(groups, return_inverse=True)
        about = about.new_zeros(len(number), about.shape[1]).index_add_(0, index, about)
    if len(about) < 2:
        return difference.new_full(difference.shape[1:], torch.nan)
    return (about.square().sum(dim=0) * len(about) / (len(about) - 1)).sqrt() / len(difference)


def paired_interval(difference: Tensor, groups: Tensor | None = None) -> Tensor:
    """Both ends ``(S, 2)`` of a 95 % interval of the mean of differences by row, by the normal distribution.

    Args:
        difference: by row ``(R, S)``.
        groups: as ``paired_error`` takes them.
    """
    return _interval(difference.mean(dim=0), paired_error(difference, groups))


def _mean(total: Tensor, rows: int) -> Tensor:
    return total / rows if rows else torch.full_like(total, torch.nan)


def _interval(mean: Tensor, error: Tensor) -> Tensor:
    half = _QUANTILE * error
    return torch.stack([mean - half, mean + half], dim=1)
