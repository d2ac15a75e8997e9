"""The report of score curves, and points of them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from lightning_posttrain.classification.functional.histograms import probability_at
from lightning_posttrain.classification.functional.ranking import above, areas
from lightning_posttrain.classification.result.curves import CurveReport
from lightning_posttrain.classification.result.scores import ScoreCounts


def curve_report(counts: ScoreCounts) -> CurveReport:
    """The areas under the curves of each class and of all together.

    Example:
        >>> counts = ScoreCounts(torch.tensor([[0], [3]]), torch.tensor([[4], [0]]), ("yes",))
        >>> curve_report(counts).auroc.tolist()
        [1.0]
    """
    roc, precision = areas(*counts.sides)
    together = areas(*counts.together)
    alone = len(counts.class_names) == 1
    micro = (torch.nan, torch.nan) if alone else (float(together[0].value), float(together[1].value))
    return CurveReport(counts, roc.value, precision.value, micro)


class Points(NamedTuple):
    """Counts above thresholds, each ``(K, C)`` float64 but ``threshold (K,)``, from the lowest threshold up."""

    threshold: Tensor
    true_positive: Tensor
    false_positive: Tensor
    true_negative: Tensor
    false_negative: Tensor


def points_at(counts: ScoreCounts, thresholds: Tensor) -> Points:
    """Counts of scores at or above probabilities; each threshold is moved to the nearest edge of a bin.

    Args:
        counts: scores in bins.
        thresholds: ``(K,)``, rising, in 0 to 1.
    """
    bins = len(counts.positives)
    edges = probability_at(torch.arange(bins + 1), bins)
    upper = torch.searchsorted(edges, thresholds.double()).clamp(1, bins)
    near = torch.where(thresholds - edges[upper - 1] < edges[upper] - thresholds, upper - 1, upper)
    found, wrong = (above(side).flip(0)[near] for side in counts.sides)
    positives, negatives = (side.sum(dim=0).double() for side in counts.sides)
    return Points(edges[near], found, wrong, negatives - wrong, positives - found)
