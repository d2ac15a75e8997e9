"""How many errors are left when a classifier answers only where it is sure."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_posttrain.core.statistics.binomial import upper_bound
from lightning_posttrain.thresholds.functional.cuts import Cuts, cuts
from lightning_posttrain.thresholds.result.abstention import RiskCoverage

POINTS = 512
AT_ONCE = 1 << 18
"""Logits that are looked at in one pass, which a cache holds."""
LAUNCHED = 1 << 22
"""The same on a GPU, where they must be many for few launches."""


class RiskAt(NamedTuple):
    """What a confidence threshold leaves: share of rows answered, share of errors among them, its upper bound."""

    coverage: float
    risk: float
    upper: float


def confidences(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Probability of the predicted class ``(N,)`` float64, and which class that is ``(N,)``, from logits ``(N, C)``.

    Example:
        >>> confidences(torch.tensor([[0.0, 0.0], [-torch.inf, 1.0]]))[0].tolist()
        [0.5, 1.0]
    """
    top, predicted = logits.max(dim=1)
    total = torch.empty_like(top, dtype=torch.float64)
    step = max(1, (AT_ONCE if logits.device.type == "cpu" else LAUNCHED) // logits.shape[1])
    for start in range(0, len(logits), step):
        rows = slice(start, start + step)
        total[rows] = (logits[rows].double() - top[rows, None].double()).exp_().sum(dim=1)
    return 1 / total, predicted


def risk_coverage(
    confidence: Tensor, right: Tensor, *, max_risk: float | None = None, frozen: float | None = None
) -> RiskCoverage:
    r"""Risk against coverage (Geifman and El-Yaniv, 2017, arXiv:1705.08500).

    Rows of equal confidence are answered together. The area is the mean, over the rows, of the risk among those at
    least as sure; the excess is what it has over that of an order with all errors last, of :math:`w` errors in
    :math:`n` rows :math:`\frac{1}{n} \sum_{i=1}^{w} \frac{i}{n - w + i}` (Geifman, Uziel and El-Yaniv, 2019,
    arXiv:1805.08206). The curve is thinned to 512 points at most, the areas are of all.

    Args:
        confidence: ``(N,)`` in 0 to 1; rows of NaN are left out.
        right: ``(N,)`` bool.
        max_risk: choose the threshold with the largest coverage whose risk is no larger; in the middle, in log-odds,
            between the last confidence that is answered and the next, 0 where all are.
        frozen: a threshold from other rows, to apply instead.

    Raises:
        ValueError: ``max_risk`` is not in 0 to 1.

    Example:
        >>> found = risk_coverage(torch.tensor([0.9, 0.8, 0.6]), torch.tensor([True, True, False]), max_risk=0.1)
        >>> found.coverage_at, found.aurc, found.e_aurc
        (0.6666666666666666, 0.1111111111111111, 0.0)
    """
    if max_risk is not None and not 0 <= max_risk <= 1:
        raise ValueError(f"`max_risk` is {max_risk}, wanted a share of errors from 0 to 1, as 0.05.")
    known = ~confidence.isnan()
    confidence, right = confidence[known].double(), right[known].bool()
    rows, wrong = len(right), int((~right).sum())
    found = cuts(confidence, (~right).long())
    answered = found.counts.predicted[1:]
    risk = found.counts.true_positive[1:] / answered
    area = float((answered.diff(prepend=answered.new_zeros(1)) * risk).sum() / rows) if rows else math.nan
    last_errors = torch.arange(1, wrong + 1, dtype=torch.float64)
    least = float((last_errors / (rows - wrong + last_errors)).sum()) / max(rows, 1)
    place = _chosen(risk, max_risk) if frozen is None else None
    threshold = _thresholds(found)
    chosen = frozen if place is None else float(threshold[place])
    kept = _thinned(answered / max(rows, 1), place)
    at = RiskAt(math.nan, math.nan, math.nan) if chosen is None else risk_at(confidence, right, chosen)
    return RiskCoverage(
        (answered / max(rows, 1))[kept], risk[kept], threshold[kept], area, area - least,
        wrong / rows if rows else math.nan, max_risk, chosen, *at, frozen=frozen is not None, rows=rows,
    )  # fmt: skip


def risk_at(confidence: Tensor, right: Tensor, threshold: float) -> RiskAt:
    """Coverage and risk where rows with a confidence at or above ``threshold`` are answered.

    The upper end of the risk is the one-sided 95 % one of Clopper and Pearson, which holds for a threshold that was
    not chosen on these rows.

    Args:
        confidence: ``(N,)``; rows of NaN are left out.
        right: ``(N,)`` bool.
        threshold: of confidence.

    Example:
        >>> risk_at(torch.tensor([0.9, 0.8, 0.6]), torch.tensor([True, True, False]), 0.7)[:2]
        (0.6666666666666666, 0.0)
    """
    known = ~confidence.isnan()
    taken = known & (confidence.double() >= threshold)
    rows, answered, wrong = int(known.sum()), int(taken.sum()), int((taken & ~right.bool()).sum())
    risk = wrong / answered if answered else math.nan
    return RiskAt(answered / rows if rows else math.nan, risk, upper_bound(wrong, answered))


def _thresholds(found: Cuts) -> Tensor:
    """Those of the cuts that answer something; 0 for that which answers all."""
    threshold = found.threshold[1:].clone()
    threshold[-1:] = 0.0
    return threshold


def _chosen(risk: Tensor, max_risk: float | None) -> int | None:
    """The last place whose risk is low enough."""
    low = [] if max_risk is None else (risk <= max_risk).nonzero()[:, 0].tolist()
    return low[-1] if low else None


def _thinned(coverage: Tensor, place: int | None) -> Tensor:
    """Positions that lie evenly over coverage, both ends and ``place``."""
    if len(coverage) <= POINTS:
        return torch.arange(len(coverage))
    even = torch.linspace(0, 1, POINTS - 2, dtype=torch.float64)
    near = torch.searchsorted(coverage, even).clamp(max=len(coverage) - 1)
    ends = torch.tensor([0, len(coverage) - 1] if place is None else [0, len(coverage) - 1, place])
    kept: Tensor = torch.unique(torch.cat([near, ends]))
    return kept
