"""Thresholds chosen for an objective, exactly, and what they change."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_posttrain.classification import ClassCounts
from lightning_posttrain.core.output.result import listed
from lightning_posttrain.thresholds.functional.cuts import Cuts, cuts
from lightning_posttrain.thresholds.functional.gain import gain
from lightning_posttrain.thresholds.functional.objectives import CONSTRAINED, Objective, figures, met
from lightning_posttrain.thresholds.result.abstention import RiskCoverage
from lightning_posttrain.thresholds.result.thresholds import ObjectiveCurve, Operating, ThresholdReport

HALF = 0.5
POINTS = 257
FOLDS = 5
CURVES = 100
"""With more labels than this a report has no curves; they would be most of it."""


class Chosen(NamedTuple):
    """Thresholds ``(L,)`` float64, NaN where none could be chosen, and for each label why, else an empty string."""

    thresholds: Tensor
    reasons: tuple[str, ...]


def choose_thresholds(probabilities: Tensor, target: Tensor, objective: Objective) -> Chosen:
    """The threshold of each label that is best for the objective on these rows, of all that there are.

    A label is predicted where its probability is at or above the threshold, both in float64. The threshold lies in
    the middle, in log-odds, between the lowest probability that it takes in and the next lower one. Of cuts that are
    equally good, one that gives the constrained figure its largest value is taken, then that nearest 0.5.

    Args:
        probabilities: ``(N, L)``, floating; NaN is not counted.
        target: ``(N, L)``, 0 or 1; -1 is not counted.
        objective: what to make large.

    Example:
        >>> p, y = torch.tensor([[0.1], [0.2], [0.3], [0.35]]), torch.tensor([[0], [0], [1], [1]])
        >>> choose_thresholds(p, y, Objective("f_beta")).thresholds.round(decimals=3).tolist()
        [0.247]
    """
    pairs = [_choose(cuts(p, y), objective) for p, y in zip(probabilities.unbind(1), target.unbind(1), strict=True)]
    thresholds = torch.tensor([threshold for threshold, _ in pairs], dtype=torch.float64)
    return Chosen(thresholds, tuple(reason for _, reason in pairs))


def _choose(found: Cuts, objective: Objective) -> tuple[float, str]:
    counts = found.counts
    if not counts.support[0] or not counts.total[0] - counts.support[0]:
        return torch.nan, "no positive rows" if not counts.support[0] else "no negative rows"
    named = figures(counts, objective)
    allowed = met(named, objective)
    if not allowed.any():
        return torch.nan, f"{objective.constraint} is reached at no threshold"
    value = torch.where(allowed, objective.sign * named["objective"], -torch.inf)
    best = value.max()
    # equal shares of counts may differ in their last digit, as where a sum of two is the figure
    tied = value >= best - 1e-12 * max(1.0, float(best.abs()))
    if objective.kind in CONSTRAINED:
        second = torch.where(tied, named[CONSTRAINED[objective.kind][1]], -torch.inf)
        tied = second == second.max()
    distance = torch.where(tied, (found.threshold - HALF).abs(), torch.inf)
    return float(found.threshold[distance.argmin()]), ""


def cross_fitted(probabilities: Tensor, target: Tensor, objective: Objective, *, folds: int = FOLDS) -> Tensor:
    """For each row the thresholds ``(N, L)`` that the rows of the other folds choose, 0.5 where they choose none.

    What is measured at them was not fitted to. Rows go to folds at random, always in the same way.

    Args:
        probabilities: ``(N, L)``.
        target: ``(N, L)``, 0 or 1; -1 is not counted.
        objective: what to make large.
        folds: how many.
    """
    fold = torch.randperm(len(target), generator=torch.Generator().manual_seed(0)) % folds
    thresholds = torch.full(target.shape, HALF, dtype=torch.float64)
    for number in range(folds):
        others = fold != number
        thresholds[~others] = choose_thresholds(probabilities[others], target[others], objective).thresholds
    return thresholds.nan_to_num(HALF)


def operating(probabilities: Tensor, target: Tensor, thresholds: Tensor, objective: Objective) -> Operating:
    """Figures of each label at thresholds.

    Args:
        probabilities: ``(N, L)``, floating; NaN is not counted.
        target: ``(N, L)``, 0 or 1; -1 is not counted.
        thresholds: ``(L,)``, or ``(N, L)`` one for each row, whose means are given; NaN stands for 0.5.
        objective: which figure is the objective.

    Example:
        >>> p, y = torch.tensor([[0.1], [0.2], [0.3], [0.35]]), torch.tensor([[0], [0], [1], [1]])
        >>> operating(p, y, torch.tensor([0.15]), Objective("f_beta")).recall.tolist()
        [1.0]
    """
    used = thresholds.double().nan_to_num(HALF)
    known = (target >= 0) & ~probabilities.isnan()
    positive, predicted = known & (target > 0), known & (probabilities >= used)
    sides = (positive & predicted, predicted & ~positive, positive & ~predicted, known & ~positive & ~predicted)
    named = figures(ClassCounts(*(side.sum(dim=0).double() for side in sides)), objective)
    return Operating(threshold=used if used.dim() == 1 else used.mean(dim=0), met=met(named, objective), **named)


def objective_curves(
    probabilities: Tensor, target: Tensor, objective: Objective, *, most: int = POINTS
) -> tuple[ObjectiveCurve, ...]:
    """The objective, precision and recall of each label against its threshold, ``L`` of them.

    Of more than ``most`` cuts those are kept that lie evenly in rank and in log-odds, the ends, and the best.
    """
    pairs = zip(probabilities.unbind(1), target.unbind(1), strict=True)
    return tuple(_curve(cuts(p, y), objective, most) for p, y in pairs)


def _curve(found: Cuts, objective: Objective, most: int) -> ObjectiveCurve:
    named = figures(found.counts, objective)
    value = torch.where(met(named, objective), named["objective"], torch.nan)
    precision = torch.where(found.counts.predicted > 0, named["precision"], torch.nan)
    chosen = (found.threshold == _choose(found, objective)[0]).nonzero()[:, 0]
    kept = torch.unique(torch.cat([_spread(found.threshold, most - 1), chosen])).flip(0)
    return ObjectiveCurve(*(x[kept] for x in (found.threshold, value, precision, named["recall"])))


def _spread(thresholds: Tensor, most: int) -> Tensor:
    """Positions of ``most`` at most of ``thresholds (K,)`` that fall, half even in rank, half even in log-odds."""
    last = len(thresholds) - 1
    if last < most:
        return torch.arange(last + 1)
    ranks = torch.linspace(0, last, most // 2).round().long()
    odds = thresholds.clamp(1e-6, 1 - 1e-6).logit()
    even = torch.linspace(float(odds[-1]), float(odds[0]), most - most // 2, dtype=odds.dtype)
    return torch.cat([ranks, last - torch.searchsorted(odds.flip(0), even).clamp(max=last)])


def threshold_report(
    probabilities: Tensor,
    target: Tensor,
    objective: Objective,
    *,
    class_names: tuple[str, ...],
    frozen: Tensor | None = None,
    abstention: RiskCoverage | None = None,
    total: int | None = None,
) -> ThresholdReport:
    """Choose thresholds and say honestly what they win, or apply those that were chosen on other rows.

    Chosen ones are judged by cross-fitting, and not kept where the objective wins nothing so; with a constraint they
    are kept, as it may cost something. Their figures are those of rows that did not choose them.

    Args:
        probabilities: ``(N, L)``, floating.
        target: ``(N, L)``, 0 or 1; -1 is not counted.
        objective: what to make large.
        class_names: ``L`` names.
        frozen: thresholds ``(L,)`` from other rows, NaN for 0.5, which is all there is if all are; None to choose them.
        abstention: goes into the report as it is.
        total: rows that there were, where these are a sample of them.
    """
    half = torch.full((target.shape[1],), HALF, dtype=torch.float64)
    few = len(class_names) <= CURVES
    report = ThresholdReport(
        class_names, objective.name, objective.text, operating(probabilities, target, half, objective),
        frozen=frozen is not None, curves=objective_curves(probabilities, target, objective) if few else (),
        abstention=abstention, rows=len(target), total=len(target) if total is None else total,
        positives=tuple((target == 1).sum(0).tolist()),
    )  # fmt: skip
    if frozen is not None and frozen.isnan().all():
        return report
    if frozen is not None:
        return _with_tuned(report, probabilities, target, objective, frozen, frozen)
    chosen = choose_thresholds(probabilities, target, objective)
    if chosen.thresholds.isnan().all():
        return replace(report, reason=_reason(chosen, class_names) if len(target) else "no rows were counted")
    judged = cross_fitted(probabilities, target, objective)
    report = _with_tuned(report, probabilities, target, objective, chosen.thresholds, judged)
    report = replace(report, held_out=True, reason=_reason(chosen, class_names))
    if objective.kind in CONSTRAINED or report.gain > 0:
        return report
    verb = "raise" if objective.kind == "cost" else "lower"
    lost = f"would {verb} {objective.text} by {-report.gain:.4f}" if report.gain < 0 else "would win nothing"
    return replace(report, tuned=None, reason=f"0.5 is kept: on held-out rows other thresholds {lost}")


def _with_tuned(
    report: ThresholdReport, probabilities: Tensor, target: Tensor, objective: Objective, final: Tensor, judged: Tensor
) -> ThresholdReport:
    """The report with ``final`` thresholds and the figures at the ``judged`` ones."""
    point, low, high = gain(probabilities, target, judged, objective)
    tuned = replace(operating(probabilities, target, judged, objective), threshold=final.double().nan_to_num(HALF))
    return replace(report, tuned=tuned, gain=point, gain_interval=(low, high))


def _reason(chosen: Chosen, names: tuple[str, ...]) -> str:
    """Which labels have no threshold of their own, by cause."""
    causes = dict.fromkeys(reason for reason in chosen.reasons if reason)
    if len(names) == 1:
        return "; ".join(causes)
    found = zip(names, chosen.reasons, strict=True)
    pairs = [(name, reason) for name, reason in found if reason]
    said = (f"{listed([name for name, reason in pairs if reason == cause])} ({cause})" for cause in causes)
    return f"0.5 is kept for {'; '.join(said)}" if pairs else ""
