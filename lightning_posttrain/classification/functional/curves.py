"""The report of score curves, and points of them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from lightning_posttrain.classification.functional.ranking import above
from lightning_posttrain.classification.result.curves import CurveReport
from lightning_posttrain.classification.result.scores import RankedScores, ScoreCounts
from lightning_posttrain.core.output.deferred import Deferred


def curve_report(found: RankedScores, class_names: tuple[str, ...], *, binary: bool = False) -> CurveReport:
    """The areas under the curves of each class and of all together.

    Args:
        found: the areas, and counts for curves.
        class_names: of all classes.
        binary: class 1 has the only curve.
    """
    chosen = slice(1, None) if binary else slice(None)
    auroc, precision = (area.value[chosen] for area in (found.auroc, found.average_precision))
    return CurveReport(
        class_names=class_names[chosen],
        auroc=auroc,
        average_precision=precision,
        binned=Deferred(lambda: {"each": _of_classes(found.counts, chosen), "together": found.together}),
        areas=Deferred(lambda: {"micro": _micro(found, alone=len(class_names[chosen]) == 1), "within": found.within}),
        ignored=tuple(class_names[k] for k in found.ignored),
    )


def _of_classes(counts: ScoreCounts, chosen: slice) -> ScoreCounts:
    return ScoreCounts(*(side[:, chosen] for side in (*counts.sides, counts.edges)))


def _micro(found: RankedScores, *, alone: bool) -> tuple[float, float]:
    if alone:
        return torch.nan, torch.nan
    auroc, precision = found.micro
    return float(auroc.value), float(precision.value)


class Points(NamedTuple):
    """Counts above thresholds, each ``(K, C)`` float64, from the lowest threshold up."""

    threshold: Tensor
    true_positive: Tensor
    false_positive: Tensor
    true_negative: Tensor
    false_negative: Tensor


def points_at(counts: ScoreCounts, thresholds: Tensor) -> Points:
    """Counts of scores at or above probabilities.

    A threshold within a bin that holds scores is moved to the nearest of the bin's edges.

    Args:
        counts: scores in bins.
        thresholds: ``(K,)``, rising, in 0 to 1.
    """
    bins, classes = counts.positives.shape
    asked = thresholds.double()[:, None].expand(-1, classes)
    upper = torch.searchsorted(counts.edges.t().contiguous(), asked.t().contiguous()).t().clamp(1, bins)
    lower_edge, upper_edge = (counts.edges.gather(0, place) for place in (upper - 1, upper))
    near = torch.where(asked - lower_edge < upper_edge - asked, upper - 1, upper)
    empty = (counts.positives + counts.negatives).gather(0, upper - 1) == 0
    found, wrong = (above(side).flip(0).gather(0, near) for side in counts.sides)
    positives, negatives = (side.sum(dim=0).double() for side in counts.sides)
    threshold = torch.where(empty, asked, counts.edges.gather(0, near))
    return Points(threshold, found, wrong, negatives - wrong, positives - found)
