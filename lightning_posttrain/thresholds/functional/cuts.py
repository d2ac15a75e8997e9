"""Every way to cut the scores of a label in two, and the threshold that lies in the middle of each cut."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from lightning_posttrain.classification import ClassCounts

NEVER = 1 + 2.0**-23
"""Above every probability, in float32 too."""


class Cuts(NamedTuple):
    """The cuts of one label's ``K`` distinct scores, from none predicted to all, each ``(K + 1,)`` float64."""

    threshold: Tensor
    counts: ClassCounts


def cuts(probability: Tensor, target: Tensor) -> Cuts:
    """Count what every distinct threshold would predict, by one sort.

    Args:
        probability: ``(N,)``; NaN is not counted.
        target: ``(N,)`` 0 or 1; -1 is not counted.

    Example:
        >>> cuts(torch.tensor([0.9, 0.1, 0.9]), torch.tensor([1, 0, 0])).counts.true_positive.tolist()
        [0.0, 1.0, 1.0]
    """
    known = (target >= 0) & ~probability.isnan()
    score, order = probability[known].sort(descending=True)
    positive = target[known][order] > 0
    last = _last_of_equal(score)
    none = torch.zeros(1, dtype=torch.int64)
    found = torch.cat([none, positive.cumsum(dim=0)[last]]).double()
    predicted = torch.cat([none, last + 1]).double()
    positives, rows = found[-1], float(len(score))
    rest = rows - positives - predicted + found
    return Cuts(between(score[last].double()), ClassCounts(found, predicted - found, positives - found, rest))


def _last_of_equal(ordered: Tensor) -> Tensor:
    """Positions of the last of each run of equal values."""
    last = torch.ones(len(ordered), dtype=torch.bool)
    last[:-1] = ordered[1:] != ordered[:-1]
    return last.nonzero()[:, 0]


def between(scores: Tensor) -> Tensor:
    """The threshold in the middle of each cut of distinct ``scores (K,)`` that fall, ``(K + 1,)``.

    The middle in log-odds of the last score above the cut and the first below it; the mean of the two where one is 0
    or 1. Beyond the scores lie 1 and 0.

    Example:
        >>> between(torch.tensor([0.9, 0.1], dtype=torch.float64)).round(decimals=3).tolist()
        [0.95, 0.5, 0.05]
    """
    ends = torch.tensor([[1.0], [0.0]], dtype=torch.float64)
    above, below = torch.cat([ends[0], scores]), torch.cat([scores, ends[1]])
    middle = ((above.logit() + below.logit()) / 2).sigmoid()
    inside = (above < 1) & (below > 0)
    middle = torch.where(inside, middle, (above + below) / 2)
    # of neighbouring numbers the middle is one or the other: what is above must be reached, what is below not
    middle = torch.where((middle > below) & (middle <= above), middle, above)
    middle[0] = torch.where(middle[0] > below[0], middle[0], NEVER)
    return middle
