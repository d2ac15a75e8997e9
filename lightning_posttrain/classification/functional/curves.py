"""The report of score curves, and points of them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from lightning_posttrain.classification.functional.ranking import above
from lightning_posttrain.classification.result.curves import CurveReport
from lightning_posttrain.classification.result.scores import RankedScores, ScoreCounts


def curve_report(found: RankedScores, class_names: tuple[str, ...], *, binary: bool = False) -> CurveReport:
    """The areas under the curves of each class and of all together.

    Args:
        found: the areas, and counts for curves.
        class_names: of all classes.
        binary: class 1 has the only curve.
    """
    chosen = slice(1, None) if binary else slice(None)
    counts = ScoreCounts(*(side[:, chosen] for side in (*found.counts.sides, found.counts.edges)))
    auroc, precision = (area.value[chosen] for area in (found.auroc, found.average_precision))
    alone = len(class_names[chosen]) == 1
    micro = (torch.nan, torch.nan) if alone else (float(found.micro[0].value), float(found.micro[1].value))
    ignored = tuple(class_names[k] for k in found.ignored)
    return CurveReport(class_names[chosen], counts, found.together, auroc, precision, micro, found.within, ignored)


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
