"""ROC and precision-recall curves, and the areas under them, from counts of scores in bins.

Positives and negatives in one bin cannot be put in order. The estimates take their order as random; the bounds hold
for every order, so that what the bins cost is known for the data at hand.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from lightning_posttrain.classification.result.scores import Bounded

Sides = tuple[Tensor, Tensor]
"""Positives and negatives in each bin ``(T, C)``, int64, from the lowest bin to the highest."""


class Ends(NamedTuple):
    """Where scores may stand at the lowest and at the highest, where their bins are not those of the counts."""

    low: Sides
    high: Sides


class _Filled(NamedTuple):
    """The bins that hold positives: whose they are, what they hold, and what lies in higher and lower bins."""

    of: Tensor
    here: Tensor
    among: Tensor
    found: Tensor
    wrong: Tensor
    below: Tensor
    positives: Tensor
    negatives: Tensor


def areas(positives: Tensor, negatives: Tensor, ends: Ends | None = None) -> tuple[Bounded, Bounded]:
    """``auroc`` and ``average_precision``, for the price of one."""
    middle = _filled(positives, negatives)
    if ends is None:
        reached = middle.found + middle.here
        return _auroc(middle, middle, middle), _average_precision(middle, middle, middle, reached)
    worst = _filled(ends.low[0], ends.high[1])
    best = _filled(ends.high[0], ends.low[1])
    reached = _reached(best, ends.low[0], ends.high[0])
    return _auroc(middle, worst, best), _average_precision(middle, worst, best, reached)


def auroc(positives: Tensor, negatives: Tensor) -> Bounded:
    r"""Area under the ROC curve: how likely a positive scores above a negative; chance gives 0.5.

    With :math:`p_t` positives and :math:`n_t` negatives in bin :math:`t`,
    :math:`\frac{1}{PN} \sum_t p_t \left( \sum_{u < t} n_u + \frac{n_t}{2} \right)`
    (Hanley and McNeil, 1982, doi:10.1148/radiology.143.1.7063747); off by at most :math:`\sum_t p_t n_t / 2PN`.

    Args:
        positives: rows of the class in each bin ``(T, C)``, int64, from the lowest bin to the highest.
        negatives: the other rows.

    Example:
        >>> round(float(auroc(torch.tensor([[0], [1], [2]]), torch.tensor([[2], [1], [0]])).value), 9)
        0.944444444
    """
    return areas(positives, negatives)[0]


def average_precision(positives: Tensor, negatives: Tensor) -> Bounded:
    """Average precision: mean over the positives of the precision down to each; chance gives their share of rows.

    As scikit-learn's, without interpolation. In a bin of ``p`` positives and ``n`` negatives the ``j``-th positive is
    expected after ``j n / (p + 1)`` of its negatives. The bounds hold for every order in the bins, and for any of their
    scores being equal: of equal scores each has the precision down to the last.

    Args:
        positives: rows of the class in each bin ``(T, C)``, int64, from the lowest bin to the highest.
        negatives: the other rows.

    Example:
        >>> average_precision(torch.tensor([[0], [1], [2]]), torch.tensor([[2], [1], [0]])).value.tolist()
        [0.9523809523809524]
    """
    return areas(positives, negatives)[1]


def _filled(positives: Tensor, negatives: Tensor) -> _Filled:
    # by the number of the cell: a bin that holds positives is rare, and a look-up by one number is fast
    cell = positives.reshape(-1).nonzero()[:, 0]
    lower = [counts.cumsum(dim=0) for counts in (positives, negatives)]
    here, among, with_found, with_among = (c.reshape(-1)[cell].double() for c in (positives, negatives, *lower))
    of = cell % positives.shape[1]
    total, others = (c[-1].double() if len(c) else c.sum(dim=0).double() for c in lower)
    below = with_among - among
    return _Filled(of, here, among, total[of] - with_found, others[of] - with_among, below, total, others)


def _auroc(middle: _Filled, worst: _Filled, best: _Filled) -> Bounded:
    parts = (
        (middle, middle.below + middle.among / 2),
        (worst, worst.below),
        (best, best.below + best.among),
    )
    value, low, high = (_mean(filled, part) / filled.negatives for filled, part in parts)
    return Bounded(value, torch.minimum(low, value), torch.maximum(high, value))


def _mean(filled: _Filled, part: Tensor) -> Tensor:
    """Of each class, over its positives."""
    return torch.zeros_like(filled.positives).index_add(0, filled.of, filled.here * part) / filled.positives


# Gauss-Legendre on 0 to 1: a mean of four values for the mean over all positives of a bin
_PLACES = torch.tensor([0.06943184420297371, 0.33000947820757187, 0.6699905217924281, 0.9305681557970263]).double()
_WEIGHTS = torch.tensor([0.17392742256872692, 0.32607257743127307, 0.32607257743127307, 0.17392742256872692]).double()


def _average_precision(middle: _Filled, worst: _Filled, best: _Filled, reached: Tensor) -> Bounded:
    j = 1 + _PLACES * (middle.here[:, None] - 1)
    found = middle.found[:, None] + j
    passed = found + middle.wrong[:, None] + j * middle.among[:, None] / (middle.here[:, None] + 1)
    value = _mean(middle, found / passed @ _WEIGHTS)
    low = _mean(worst, _after_all(worst))
    high = _mean(best, reached / (reached + best.wrong))
    return Bounded(value, torch.minimum(low, value), torch.maximum(high, value))


def _after_all(filled: _Filled) -> Tensor:
    """The least that the mean precision of the positives of a bin can be after all of its negatives.

    With ``b`` negatives passed it is the mean of the concave ``j / (j + b)``, not below that of both ends, and
    ``1 - b`` times the mean of ``1 / (j + b)``, each not above the integral around it. One or two have both exactly.
    """
    before = filled.wrong + filled.among
    ends = [(filled.found + j) / (filled.found + j + before) for j in (1, filled.here)]
    integral = torch.log1p(filled.here / (filled.found + before + 0.5))
    return torch.maximum((ends[0] + ends[1]) / 2, 1 - before / filled.here * integral)


def _reached(best: _Filled, low: Tensor, high: Tensor) -> Tensor:
    """How many positives may be equal to or above the last of each bin, if it stands as low as it can."""
    lowest, highest = (side.flip(0).cumsum(dim=0).t().contiguous() for side in (low, high))
    classes, bins = lowest.shape
    apart = int(lowest.max()) + 1 if lowest.numel() else 1  # the classes one after the other in one rising line
    line = (lowest + apart * torch.arange(classes)[:, None]).reshape(-1)
    last = (best.found + best.here).long()
    where = torch.searchsorted(line, last + apart * best.of).clamp(max=classes * bins - 1)
    return highest.reshape(-1)[where].double()


class Curve(NamedTuple):
    """Points of a curve from the highest threshold to the lowest, each ``(T + 1, C)`` float64."""

    x: Tensor
    y: Tensor


def roc_curve(positives: Tensor, negatives: Tensor) -> Curve:
    """False and true positive rate above the lower edge of each bin, from (0, 0) on."""
    return Curve(_share_above(negatives), _share_above(positives))


def precision_recall_curve(positives: Tensor, negatives: Tensor) -> Curve:
    """Recall and precision above the lower edge of each bin; precision is NaN where nothing lies above."""
    found, wrong = above(positives), above(negatives)
    return Curve(_share_above(positives), found / (found + wrong))


def above(counts: Tensor) -> Tensor:
    """Counts above each edge of the bins ``(T + 1, C)`` float64, from the highest edge, above which is nothing."""
    summed = counts.flip(0).double().cumsum(dim=0)
    return torch.cat([torch.zeros_like(summed[:1]), summed])


def _share_above(counts: Tensor) -> Tensor:
    return above(counts) / counts.sum(dim=0)
