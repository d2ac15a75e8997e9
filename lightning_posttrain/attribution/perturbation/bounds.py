"""What a rule has to reach, and how low or high a share may be, given what was counted."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_posttrain.functional.binomial import upper_bound

HALVINGS = 40


@dataclass(frozen=True)
class Bar:
    """When a rule is good enough: its precision reaches ``threshold``, and is surely above that less ``tolerance``.

    Args:
        threshold: wanted share of rows of a rule that get the class, above 0, up to 1.
        tolerance: how much less it may be in truth, from 0 to below ``threshold``.
        confidence: how sure that has to be, between 0 and 1.

    Raises:
        ValueError: one of them is out of its range.
    """

    threshold: float = 0.95
    tolerance: float = 0.05
    confidence: float = 0.95

    def __post_init__(self) -> None:
        if not 0 < self.threshold <= 1:
            raise ValueError(f"`threshold` is {self.threshold}, wanted a share above 0, up to 1. Take 0.95.")
        if not 0 <= self.tolerance < self.threshold:
            raise ValueError(
                f"`tolerance` is {self.tolerance}, wanted 0 or more, below the threshold, {self.threshold}. Take 0.05."
            )
        if not 0 < self.confidence < 1:
            raise ValueError(f"`confidence` is {self.confidence}, wanted between 0 and 1. Take 0.95.")

    @property
    def least(self) -> float:
        """What the lower bound has to exceed."""
        return self.threshold - self.tolerance

    def judged(self, hits: int, rows: int, *, tests: float = 1) -> Judged:
        """Whether a rule is good enough, from rows that its search has not seen.

        Args:
            hits: rows with the class.
            rows: rows for which the rule holds.
            tests: the doubt is shared among so many tests (Bonferroni).
        """
        lower = lower_bound(hits, rows, confidence=1 - (1 - self.confidence) / tests)
        precision = hits / rows if rows else 0.0
        return Judged(precision, lower, rows, precision >= self.threshold and lower > self.least)


@dataclass(frozen=True)
class Judged:
    """Precision of a rule, its lower bound, the rows that they are from, and whether that is good enough."""

    precision: float
    lower: float
    rows: int
    valid: bool


def lower_bound(hits: int, rows: int, *, confidence: float = 0.95) -> float:
    """The share that a true one is below with probability ``1 - confidence`` at most: exact, one-sided.

    Clopper and Pearson, 1934, doi:10.1093/biomet/26.4.404. It is above the bound by the Kullback-Leibler divergence,
    and as sure. 0 without rows.

    Example:
        >>> round(lower_bound(59, 59), 4)
        0.9505
    """
    return 1 - upper_bound(rows - hits, rows, level=confidence) if rows else 0.0


def divergence(p: Tensor, q: Tensor) -> Tensor:
    """Kullback-Leibler divergence of one coin from another, in nats, for shares of any one shape.

    Example:
        >>> divergence(torch.tensor([0.5, 1.0]), torch.tensor([0.5, 0.25])).exp().tolist()
        [1.0, 4.0]
    """
    return p.xlogy(p) - p.xlogy(q) + (1 - p).xlogy(1 - p) - (1 - p).xlogy(1 - q)


def chernoff_bounds(share: Tensor, rows: Tensor, level: float) -> tuple[Tensor, Tensor]:
    r"""Lower and upper bounds of true shares, each missed with probability :math:`e^{-level}` at most.

    Those q with :math:`n \, KL(p, q) = level` (Kaufmann and Kalyanakrishnan, 2013, COLT).

    Args:
        share: what was counted ``(A,)``, float64.
        rows: out of how many ``(A,)``; 0 gives 0 and 1.
        level: in nats.

    Example:
        >>> low, high = chernoff_bounds(torch.tensor([1.0]).double(), torch.tensor([10]), 1.0)
        >>> round(low.item(), 4), high.item()
        (0.9048, 1.0)
    """
    allowed = level / rows
    low, high = torch.zeros_like(share), torch.ones_like(share)
    below, above = share.clone(), share.clone()
    for _ in range(HALVINGS):
        middle = (low + below) / 2
        out = divergence(share, middle) > allowed
        low, below = torch.where(out, middle, low), torch.where(out, below, middle)
        middle = (above + high) / 2
        out = divergence(share, middle) > allowed
        high, above = torch.where(out, middle, high), torch.where(out, above, middle)
    none = rows == 0
    return low.masked_fill(none, 0.0), high.masked_fill(none, 1.0)
