"""How members differ: the uncertainty that is theirs, where they disagree, and whether they err together."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import NamedTuple, final

import torch
from torch import Tensor

from lightning_posttrain.core.statistics.precision import wide


class Entropy(NamedTuple):
    """Entropy by row in nats ``(R,)``: ``total = members + information``."""

    total: Tensor
    members: Tensor
    information: Tensor


def entropy_parts(logp: Tensor, weights: Tensor | None = None) -> Entropy:
    r"""The entropy of the mean of members' probabilities, in its two parts.

    :math:`H[\bar p] = \frac{1}{K} \sum_k H[p_k] + \frac{1}{K} \sum_k KL(p_k \,\|\, \bar p)`: what members are unsure of
    themselves, and their mutual information with the class, which is how much they contradict each other (Depeweg et
    al., 2018, arXiv:1710.07283). Read the second as "members disagree"; it finds fewer errors than the first.

    Args:
        logp: log-probabilities ``(R, K, C)``.
        weights: of members ``(K,)``, which sum to 1; equal where they are left out.

    Example:
        >>> parts = entropy_parts(torch.tensor([[[1.0, 1e-9], [1e-9, 1.0]]]).log())  # each is sure, of another class
        >>> [round(float(part), 4) for part in parts]
        [0.6931, 0.0, 0.6931]
    """
    if weights is None:
        weights = logp.new_full((logp.shape[1],), 1 / logp.shape[1])
    weights = weights.to(logp)
    chance = logp.exp()
    joint = torch.logsumexp(logp + weights.log()[:, None], dim=1)
    own = -(chance * logp).sum(dim=2) @ weights
    apart = (chance * (logp - joint[:, None])).sum(dim=2) @ weights
    return Entropy(-(joint.exp() * joint).sum(dim=1), own, apart.clamp(min=0))


@final
@dataclass(frozen=True, eq=False)
class DiversitySums:
    """Sums over rows, which add over batches and ranks.

    Args:
        rows: how many, int64.
        total: entropy of the mean of probabilities, float64.
        own: mean of members' entropies, float64.
        differ: rows in which two members predict different classes ``(K, K)`` int64.
        errors: rows in which both err ``(K, K)`` int64; on the diagonal those in which one does.
    """

    rows: Tensor
    total: Tensor
    own: Tensor
    differ: Tensor
    errors: Tensor

    @classmethod
    def of(cls, logp: Tensor, target: Tensor) -> DiversitySums:
        """Sums of log-probabilities ``(R, K, C)`` and targets ``(R,)``."""
        entropy, predicted = entropy_parts(logp), logp.argmax(dim=2)
        wrong = (predicted != target[:, None]).to(logp.dtype)
        differ = torch.stack([(predicted != other[:, None]).sum(dim=0) for other in predicted.unbind(1)])
        rows = torch.tensor(len(target), device=logp.device)
        return cls(
            rows, wide(entropy.total).sum(), wide(entropy.members).sum(), differ, (wrong.T @ wrong).round().long()
        )

    def __add__(self, other: DiversitySums) -> DiversitySums:
        return DiversitySums(*(getattr(self, part.name) + getattr(other, part.name) for part in fields(self)))

    def diversity(self) -> Diversity:
        """The figures."""
        rows = int(self.rows)
        number = self.rows.double() if rows else torch.tensor(math.nan, dtype=torch.float64)
        total, own = float(self.total / number), float(self.own / number)
        both, share = self.errors.double() / number, self.errors.diagonal().double() / number
        spread = (share * (1 - share)).sqrt()
        correlation = (both - share[:, None] * share) / (spread[:, None] * spread)
        return Diversity(total, own, total - own, self.differ.double() / number, correlation, rows)


@final
@dataclass(frozen=True, eq=False)
class Diversity:
    """How members differ on a set of rows.

    Args:
        entropy: of the mean of probabilities, in nats, mean over rows.
        own: the part that members have themselves.
        information: the part that is their disagreement.
        disagreement: share of rows in which two members predict different classes ``(K, K)``.
        error_correlation: the correlation (phi) of two members' errors ``(K, K)``; NaN where one never errs, or always.
            The lower it is, the more an ensemble is worth.
        rows: how many.
    """

    entropy: float
    own: float
    information: float
    disagreement: Tensor
    error_correlation: Tensor
    rows: int

    @property
    def mean_disagreement(self) -> float:
        """The mean over pairs of members; NaN for one member."""
        return _mean_of_pairs(self.disagreement)

    @property
    def mean_error_correlation(self) -> float:
        """The mean over pairs of members that have one; NaN where none has."""
        return _mean_of_pairs(self.error_correlation)


def diversity(logp: Tensor, target: Tensor) -> Diversity:
    """How members differ, of log-probabilities ``(R, K, C)`` and targets ``(R,)``.

    Example:
        >>> logp = torch.tensor([[[0.9, 0.1], [0.8, 0.2]], [[0.3, 0.7], [0.6, 0.4]]]).log()
        >>> diversity(logp, torch.tensor([0, 1])).disagreement.tolist()
        [[0.0, 0.5], [0.5, 0.0]]
    """
    return DiversitySums.of(logp, target).diversity()


def _mean_of_pairs(values: Tensor) -> float:
    members = len(values)
    upper = torch.triu_indices(members, members, offset=1)
    return float(values[upper[0], upper[1]].nanmean()) if members > 1 else math.nan
