"""What a rule has to reach, and how low or high a share may be, given what was counted."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lightning_posttrain.core.statistics.binomial import incomplete_beta, upper_bound

HALVINGS = 30


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

    def passed(self, hits: float, rows: float, *, tests: float = 1) -> bool:
        """Whether a rule is good enough, from rows that its search has not seen.

        Args:
            hits: rows with the class.
            rows: rows for which the rule holds, or their effective number.
            tests: the doubt is shared among so many tests (Bonferroni).
        """
        if hits < self.threshold * rows or not hits:
            return False
        by_chance = incomplete_beta(hits, rows - hits + 1, self.least)
        return by_chance < (1 - self.confidence) / tests

    def judged(self, hits: int, rows: int, *, tests: float = 1) -> Judged:
        """What is to be said of such a rule."""
        lower = lower_bound(hits, rows, confidence=1 - (1 - self.confidence) / tests)
        return Judged(hits / rows if rows else 0.0, lower, rows, self.passed(hits, rows, tests=tests), draws=rows)


@dataclass(frozen=True)
class Judged:
    """What is to be said of a rule.

    Args:
        precision: share of the rows that gets the class.
        lower: its lower bound.
        rows: that the precision is from.
        valid: whether that is good enough.
        draws: effective number of rows that the lower bound is from.
        complete: False where the time was over before the search was; then it is not said to be good enough.
    """

    precision: float
    lower: float
    rows: int
    valid: bool
    draws: float
    complete: bool = True

    def cut_short(self) -> Judged:
        """The same of a rule whose search was not finished."""
        return replace(self, valid=False, complete=False)


def lower_bound(hits: float, rows: float, *, confidence: float = 0.95) -> float:
    """The share that a true one is below with probability ``1 - confidence`` at most: exact, one-sided.

    Clopper and Pearson, 1934, doi:10.1093/biomet/26.4.404. It is above the bound by the Kullback-Leibler divergence,
    and as sure. Numbers of rows may be effective ones, with a fraction. 0 without rows.

    Example:
        >>> round(lower_bound(59, 59), 4)
        0.9505
    """
    return 1 - upper_bound(rows - hits, rows, level=confidence) if rows else 0.0


def chernoff_lower(share: Tensor, rows: Tensor, level: float, halvings: int = HALVINGS) -> Tensor:
    r"""Lower bounds of true shares, each too high with probability :math:`e^{-level}` at most: fast, for many.

    The :math:`q \le p` with :math:`n \, KL(p, q) = level` (Kaufmann and Kalyanakrishnan, 2013, COLT), where
    :math:`KL(p, q) = p \log(p / q) + (1 - p) \log((1 - p) / (1 - q))`.

    Args:
        share: what was counted ``(A,)``, float64.
        rows: out of how many ``(A,)``; 0 gives 0.
        level: in nats.
        halvings: each makes the bound twice as exact.

    Example:
        >>> chernoff_lower(torch.tensor([1.0]).double(), torch.tensor([10]), 1.0).log().tolist()  # KL(1, q) = -log(q)
        [-0.1000...]
    """
    wanted = share.xlogy(share) + (1 - share).xlogy(1 - share) - level / rows
    low, high = torch.zeros_like(share), share.clone()
    for _ in range(halvings):
        middle = (low + high) / 2
        out = share.xlogy(middle) + (1 - share) * (-middle).log1p() < wanted
        low, high = torch.where(out, middle, low), torch.where(out, high, middle)
    return low


def chernoff_upper(share: Tensor, rows: Tensor, level: float) -> Tensor:
    """Upper bounds of true shares, as ``chernoff_lower``; 1 without rows."""
    return 1 - chernoff_lower(1 - share, rows, level)
