"""Figures of probabilities that several members were pooled to, with intervals over rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_posttrain.core.output.result import Counted
from lightning_posttrain.core.statistics.binomial import share_interval
from lightning_posttrain.core.statistics.precision import LARGEST_LOSS
from lightning_posttrain.ensembles.drivers.row_scores import ScoredRows

WIDTH = 1.959963984540054
"""Of a 95 % interval, in standard errors."""


@dataclass(frozen=True, eq=False)
class OutOfBag(Counted):
    """How good the members together are on training rows, each row by those members alone that did not see it.

    The estimate of Breiman (1996, "Out-of-bag estimation"). It is somewhat pessimistic: a row is judged by about a
    third of the members, and not by all.

    Args:
        accuracy: share of rows, or of labels, that the mean probabilities have right.
        accuracy_interval: 95 % (Clopper and Pearson; for labels by the standard error over rows).
        log_loss: mean of minus the log of the mean probability of what came true.
        log_loss_interval: 95 %, by the standard error over rows.
        rows: that have a vote and a target.
        total: that could have had one.
        votes: members that vote on a row, on average over those that have any.
        members: that voted on any.
    """

    accuracy: float
    accuracy_interval: tuple[float, float]
    log_loss: float
    log_loss_interval: tuple[float, float]
    rows: int
    total: int
    votes: float
    members: int

    @property
    def words(self) -> str:
        """The figures in a sentence, with how far to trust them."""
        low, high = self.accuracy_interval
        left, right = self.log_loss_interval
        few = " Of so few rows, take the intervals as rough." if self.rows < 200 else ""
        return (
            f"Out of bag: accuracy {self.accuracy:.3f} ({low:.3f} to {high:.3f}), log loss {self.log_loss:.3f} "
            f"({left:.3f} to {right:.3f}) of {self.rows:,} of {self.total:,} rows, each by the {self.votes:.1f} of "
            f"{self.members} members, on average, that did not see it: somewhat pessimistic of all together.{few}"
        )


@dataclass(frozen=True, eq=False)
class Comparison(Counted):
    """All members together against the first alone, on the same rows.

    Args:
        rows: of validation.
        first_log_loss: of the first member.
        log_loss: of all, by the mean of their probabilities with their weights.
        difference: of the two; below 0 where all are better.
        interval: of the difference, 95 %, paired by rows.
        first_accuracy: of the first member.
        accuracy: of all.
        accuracy_difference: above 0 where all are better.
        accuracy_interval: of that difference, likewise.
    """

    rows: int
    first_log_loss: float
    log_loss: float
    difference: float
    interval: tuple[float, float]
    first_accuracy: float
    accuracy: float
    accuracy_difference: float
    accuracy_interval: tuple[float, float]

    @property
    def pays(self) -> bool:
        """Whether the log loss of all is lower, or their accuracy higher, beyond chance."""
        return self.interval[1] < 0 or self.accuracy_interval[0] > 0

    @property
    def words(self) -> str:
        """The figures in a sentence, and whether it was worth it."""
        (low, high), (left, right) = self.interval, self.accuracy_interval
        verdict = "It pays" if self.pays else "It does not pay: take the first member alone, or try Seeds or Bagging"
        if self.pays and self.interval[1] >= 0:
            verdict = (
                "It pays in accuracy alone: fit a temperature to the mean of the probabilities before they are used"
            )
        gain = f"{self.accuracy_difference:+.3f}, {left:+.3f} to {right:+.3f}"
        return (
            f"{verdict}. On {self.rows:,} validation rows all together have log loss {self.log_loss:.3f}, the first "
            f"member {self.first_log_loss:.3f} (difference {self.difference:+.3f}, {low:+.3f} to {high:+.3f}); "
            f"accuracy {self.accuracy:.3f} and {self.first_accuracy:.3f} ({gain})."
        )


class EachRow(NamedTuple):
    """Log loss and share of labels that are right, of each row that counts ``(R,)`` float64."""

    loss: Tensor
    right: Tensor


def each_row(probabilities: Tensor, target: Tensor) -> EachRow:
    """Figures of each row that has a target.

    Args:
        probabilities: ``(R, C)``, or ``(R, L, 2)`` of labels; NaN for rows that do not count.
        target: ``(R,)`` or ``(R, L)``; -1 for what does not count.
    """
    counted = (target >= 0) & ~probabilities.isnan().any(-1)
    place = target.clamp(min=0)
    loss = -probabilities.gather(-1, place[..., None])[..., 0].log().clamp(min=-LARGEST_LOSS)
    right = (probabilities.argmax(-1) == place).double()
    number = counted.view(len(target), -1).sum(1)
    sums = [torch.where(counted, figure, 0.0).view(len(target), -1).sum(1) for figure in (loss, right)]
    return EachRow(*(total[number > 0] / number[number > 0] for total in sums))


def mean_interval(values: Tensor) -> tuple[float, float, float]:
    """Mean and both ends of its 95 % interval, by the standard error; NaN without two values."""
    mean = float(values.mean()) if len(values) else math.nan
    half = WIDTH * float(values.std()) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return mean, mean - half, mean + half


def out_of_bag_figures(voted: Sequence[tuple[Tensor, ScoredRows]], total: int, rows: int) -> OutOfBag:
    """Out-of-bag figures.

    Args:
        voted: of each member, positions of rows ``(r,)`` in the training dataset, and its scores of them.
        total: rows that could have had a vote.
        rows: of the training dataset.
    """
    first = voted[0][1]
    sums = first.logp.new_zeros(rows, *first.logp.shape[1:])
    target = first.target.new_full((rows, *first.target.shape[1:]), -1)
    votes = torch.zeros(rows, dtype=torch.int64)
    for places, scores in voted:
        seen = (scores.target >= 0).view(len(places), -1).any(1)
        sums[places[seen]] += scores.logp[seen].exp()
        target[places[seen]] = scores.target[seen]
        votes[places[seen]] += 1
    chosen = votes > 0
    mean = sums[chosen] / votes[chosen].view(-1, *[1] * (sums.ndim - 1))
    each = each_row(mean, target[chosen])
    loss, *loss_ends = mean_interval(each.loss)
    accuracy, *ends = mean_interval(each.right)
    if not first.multilabel:
        ends = [*share_interval(int(each.right.sum()), len(each.right))]
    average = float(votes[chosen].double().mean()) if len(each.loss) else math.nan
    low, high, left, right = *ends, *loss_ends
    return OutOfBag(accuracy, (low, high), loss, (left, right), len(each.loss), total, average, len(voted))


def compared(members: Sequence[ScoredRows], weights: Sequence[float]) -> Comparison:
    """Soft votes of all members with weights against the first, on rows that all have scored."""
    share = torch.tensor(weights, dtype=torch.float64)
    probabilities = torch.stack([scores.logp.exp() for scores in members])
    pooled = torch.tensordot(share / share.sum(), probabilities, dims=1)
    first = torch.where(pooled.isnan(), torch.nan, probabilities[0])
    one, all_ = each_row(first, members[0].target), each_row(pooled, members[0].target)
    difference, low, high = mean_interval(all_.loss - one.loss)
    gain, left, right = mean_interval(all_.right - one.right)
    means = [float(values.mean()) for values in (one.loss, all_.loss, one.right, all_.right)]
    return Comparison(
        len(one.loss), means[0], means[1], difference, (low, high), means[2], means[3], gain, (left, right)
    )
