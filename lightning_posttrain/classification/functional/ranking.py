"""ROC and precision-recall curves, and the areas under them, from counts of scores in bins.

Positives and negatives in one bin cannot be put in order. The estimates take their order as random; the bounds hold
for every order, so that what the bins cost is known for the data at hand.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Bounded(NamedTuple):
    """An estimate, and what it can be at least and at most, each ``(C,)`` float64; NaN where not defined."""

    value: Tensor
    low: Tensor
    high: Tensor


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


def areas(positives: Tensor, negatives: Tensor) -> tuple[Bounded, Bounded]:
    """``auroc`` and ``average_precision``, for the price of one."""
    filled = _filled(positives, negatives)
    return _auroc(filled), _average_precision(filled)


def auroc(positives: Tensor, negatives: Tensor) -> Bounded:
    r"""Area under the ROC curve: how likely a positive scores above a negative; chance gives 0.5.

    With :math:`p_t` positives and :math:`n_t` negatives in bin :math:`t`,
    :math:`\frac{1}{PN} \sum_t p_t \left( \sum_{u < t} n_u + \frac{n_t}{2} \right)`
    (Hanley and McNeil, 1982, doi:10.1148/radiology.143.1.7063747); off by at most :math:`\sum_t p_t n_t / 2PN`.

    Args:
        positives: rows of the class in each bin ``(T, C)``, int64, from the lowest bin to the highest.
        negatives: the other rows.

    Example:
        >>> auroc(torch.tensor([[0], [1], [2]]), torch.tensor([[2], [1], [0]])).value.tolist()
        [0.9444444444444444]
    """
    return _auroc(_filled(positives, negatives))


def average_precision(positives: Tensor, negatives: Tensor) -> Bounded:
    """Average precision: mean over the positives of the precision down to each; chance gives their share of rows.

    As scikit-learn's, without interpolation. In a bin of ``p`` positives and ``n`` negatives the ``j``-th positive is
    expected after ``j n / (p + 1)`` of its negatives. The bounds hold for every order in the bins, and for all their
    scores being equal.

    Args:
        positives: rows of the class in each bin ``(T, C)``, int64, from the lowest bin to the highest.
        negatives: the other rows.

    Example:
        >>> average_precision(torch.tensor([[0], [1], [2]]), torch.tensor([[2], [1], [0]])).value.tolist()
        [0.9523809523809524]
    """
    return _average_precision(_filled(positives, negatives))


def _filled(positives: Tensor, negatives: Tensor) -> _Filled:
    # by the number of the cell: a bin that holds positives is rare, and a look-up by one number is fast
    cell = positives.reshape(-1).nonzero()[:, 0]
    lower = [counts.cumsum(dim=0) for counts in (positives, negatives)]
    here, among, with_found, with_among = (c.reshape(-1)[cell].double() for c in (positives, negatives, *lower))
    of = cell % positives.shape[1]
    total, others = (c[-1].double() if len(c) else c.sum(dim=0).double() for c in lower)
    below = with_among - among
    return _Filled(of, here, among, total[of] - with_found, others[of] - with_among, below, total, others)


def _auroc(filled: _Filled) -> Bounded:
    pairs = filled.positives * filled.negatives
    none = torch.zeros_like(pairs)
    value = none.index_add(0, filled.of, filled.here * (filled.below + filled.among / 2)) / pairs
    doubt = none.index_add(0, filled.of, filled.here * filled.among) / 2 / pairs
    return Bounded(value, value - doubt, value + doubt)


# Gauss-Legendre on 0 to 1: a mean of four values for the mean over all positives of a bin
_PLACES = torch.tensor([0.06943184420297371, 0.33000947820757187, 0.6699905217924281, 0.9305681557970263]).double()
_WEIGHTS = torch.tensor([0.17392742256872692, 0.32607257743127307, 0.32607257743127307, 0.17392742256872692]).double()


def _average_precision(filled: _Filled) -> Bounded:
    here, among = filled.here[:, None], filled.among[:, None]
    j = 1 + _PLACES * (here - 1)
    found = filled.found[:, None] + j
    passed = found + filled.wrong[:, None]
    expected, last, first = (
        found / (passed + before) @ _WEIGHTS for before in (j * among / (here + 1), among, torch.zeros_like(among))
    )
    equal = (filled.found + filled.here) / (filled.found + filled.here + filled.wrong + filled.among)
    none = torch.zeros_like(filled.positives)
    value, low, high = (
        none.index_add(0, filled.of, filled.here * part) / filled.positives
        for part in (expected, torch.minimum(last, equal), torch.maximum(first, equal))
    )
    return Bounded(value, low, high)


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
