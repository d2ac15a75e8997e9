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


def auroc(positives: Tensor, negatives: Tensor) -> Bounded:
    r"""Area under the ROC curve: how likely a positive scores above a negative; chance gives 0.5.

    With :math:`p_t` positives and :math:`n_t` negatives in bin :math:`t`,
    :math:`\frac{1}{PN} \sum_t p_t \left( \sum_{u < t} n_u + \frac{n_t}{2} \right)`
    (Hanley and McNeil, 1982, doi:10.1148/radiology.143.1.7063747); off by at most :math:`\sum_t p_t n_t / 2PN`.

    Args:
        positives: rows of the class in each bin ``(T, C)``, from the lowest bin to the highest.
        negatives: the other rows.

    Example:
        >>> auroc(torch.tensor([[0], [1], [2]]), torch.tensor([[2], [1], [0]])).value.tolist()
        [0.9444444444444444]
    """
    p, n = positives.double(), negatives.double()
    pairs = p.sum(dim=0) * n.sum(dim=0)
    below = n.cumsum(dim=0) - n
    value = (p * (below + n / 2)).sum(dim=0) / pairs
    doubt = (p * n).sum(dim=0) / 2 / pairs
    return Bounded(value, value - doubt, value + doubt)


def average_precision(positives: Tensor, negatives: Tensor) -> Bounded:
    """Average precision: mean over the positives of the precision down to each; chance gives their share of rows.

    As scikit-learn's, without interpolation. In a bin of ``p`` positives and ``n`` negatives the ``j``-th positive is
    expected after ``j n / (p + 1)`` of its negatives. The bounds hold for every order in the bins, and for all their
    scores being equal.

    Args:
        positives: rows of the class in each bin ``(T, C)``, from the lowest bin to the highest.
        negatives: the other rows.

    Example:
        >>> average_precision(torch.tensor([[0], [1], [2]]), torch.tensor([[2], [1], [0]])).value.tolist()
        [0.9523809523809524]
    """
    p, n = positives.flip(0).double(), negatives.flip(0).double()
    place = p.nonzero(as_tuple=True)
    here, among = p[place], n[place]
    before, ahead = (p.cumsum(dim=0) - p)[place], (n.cumsum(dim=0) - n)[place]
    # the j-th of the positives of a bin, at 16 places where there are more
    steps = (torch.arange(16, dtype=torch.float64, device=p.device) + 0.5) / 16
    found = (1 + steps * (here[:, None] - 1)) + before[:, None]
    j = found - before[:, None]
    expected = (found / (found + ahead[:, None] + j * (among / (here + 1))[:, None])).mean(dim=1)
    last = (found / (found + (ahead + among)[:, None])).mean(dim=1)
    first = (found / (found + ahead[:, None])).mean(dim=1)
    equal = (before + here) / (before + here + ahead + among)
    parts = (expected, torch.minimum(last, equal), torch.maximum(first, equal))
    total = p.sum(dim=0)
    none = torch.zeros_like(total)
    value, low, high = (none.index_add(0, place[1], here * part) / total for part in parts)
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
    found, wrong = _above(positives), _above(negatives)
    return Curve(_share_above(positives), found / (found + wrong))


def _above(counts: Tensor) -> Tensor:
    summed = counts.flip(0).double().cumsum(dim=0)
    return torch.cat([torch.zeros_like(summed[:1]), summed])


def _share_above(counts: Tensor) -> Tensor:
    return _above(counts) / counts.sum(dim=0)
