"""Weights of members, fitted by log loss: of a mixture, of a product, and by greedy selection."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lightning_posttrain.ensembles.functional.rows import FLOOR, own_log_probability

LARGEST = 100.0
"""The largest weight of a log-probability that is tried, as of one over a temperature."""
ROUNDS = 50
_STEPS = 100
_CLOSE = 1e-10
_TIE = 1e-12
_LEAST = math.exp(FLOOR)


def mixture_weights(logp: Tensor, target: Tensor, *, prior: float = 1.0) -> Tensor:
    r"""Weights ``(K,)`` of a mixture with the least log loss, on the simplex.

    They maximise :math:`\sum_n \log \sum_k w_k p_{nk} + \frac{a}{K} \sum_k \log w_k`, of which
    :math:`w_k \leftarrow (\sum_n w_k p_{nk} / \sum_j w_j p_{nj} + a / K) / (N + a)` is the step of expectation and
    maximisation (Dempster, Laird and Rubin, 1977, doi:10.1111/j.2517-6161.1977.tb01600.x). It is concave, and Newton's
    method is at its maximum in some twenty steps. A member that answers for less than one row is then left out.

    Args:
        logp: ``(R, K, C)`` float64.
        target: ``(R,)``.
        prior: rows that all members explain equally well, above 0: a weight near 0 comes only with data.

    Example:
        >>> logp = torch.tensor([[0.9, 0.1], [0.2, 0.8]]).log().expand(50, 2, 2)
        >>> mixture_weights(logp, torch.zeros(50, dtype=torch.long)).tolist()
        [1.0, 0.0]
    """
    own = own_log_probability(logp, target)
    chance = (own - own.amax(dim=1, keepdim=True)).exp()
    weights = _interior(chance, prior)
    kept = weights * (len(own) + prior) >= min(1.0, float(weights.max()) * (len(own) + prior))
    weights = weights * kept
    return weights / weights.sum()


def _interior(chance: Tensor, prior: float) -> Tensor:
    """Newton's steps for the weights, each held inside and halved until it helps.

    Without the bound on their sum: at the maximum of the objective less ``(N + a) * sum w`` the sum is 1 by itself.
    """
    rows, members = chance.shape
    each = prior / members
    weights = torch.full((members,), 1 / members, dtype=chance.dtype)
    value = _mixture_loss(chance, weights, each)
    for _ in range(_STEPS):
        share = chance / (chance @ weights)[:, None]
        slope = rows + prior - share.sum(dim=0) - each / weights
        curve = share.T @ share + torch.diag(each / weights.square())
        step = torch.linalg.solve(curve, slope)
        gain = float(slope @ step)
        if gain < _CLOSE * 1e-2:
            break
        part = min(1.0, 0.95 / max(float((step / weights).max()), 1e-30))
        for _ in range(40):
            tried = weights - part * step
            found = _mixture_loss(chance, tried, each)
            if found <= value - 1e-4 * part * gain:
                break
            part /= 2
        else:
            break
        weights, value = tried, found
    return weights / weights.sum()


def _mixture_loss(chance: Tensor, weights: Tensor, each: float) -> float:
    rows, members = chance.shape
    fit = (chance @ weights).log().sum() + each * weights.log().sum()
    return float((rows + each * members) * weights.sum() - fit)


def product_weights(logp: Tensor, target: Tensor) -> Tensor:
    r"""Weights ``(K,)`` of log-probabilities with the least log loss, each from 0 to 100.

    Their sum is free, and is one over a temperature. The loss
    :math:`-\frac{1}{N} \sum_n \log \mathrm{softmax}(\sum_k w_k \log p_{nk})_{y_n}` is convex; Newton's steps are
    projected on the bounds (Bertsekas, 1982, doi:10.1137/0320018), so that a member that does not help has weight 0.

    Args:
        logp: ``(R, K, C)`` float64.
        target: ``(R,)``.
    """
    over = _over_own(logp, target)
    weights = torch.full((len(over),), 1 / len(over), dtype=over.dtype)
    for _ in range(_STEPS):
        value, slope, curve = _product_loss(over, weights)
        free = ~((weights <= 0) & (slope > 0)) & ~((weights >= LARGEST) & (slope < 0))
        if not bool((slope[free].abs() > _CLOSE).any()):
            break
        step = torch.zeros_like(weights)
        held = curve[free][:, free]
        held.diagonal().add_(1e-12 * float(held.trace()) + 1e-30)  # members may be equal
        step[free] = torch.linalg.solve(held, slope[free])
        lower = _halved(over, weights=weights, step=step, slope=slope, value=value)
        if lower is None:
            break
        weights = lower
    # where no member tells anything, the highest temperature that is tried
    return weights if bool((weights > 0).any()) else torch.full_like(weights, 1 / LARGEST / len(weights))


def _over_own(logp: Tensor, target: Tensor) -> Tensor:
    """By how much each log-probability exceeds that of what came true ``(K, R, C)``."""
    return (logp - own_log_probability(logp, target)[..., None]).transpose(0, 1).contiguous()


def _product_loss(over: Tensor, weights: Tensor) -> tuple[float, Tensor, Tensor]:
    """The log loss, its gradient ``(K,)`` and its Hessian ``(K, K)``."""
    members, rows, _ = over.shape
    flat = over.view(members, -1)
    joint = (weights @ flat).view(rows, -1)
    loss = joint.logsumexp(dim=1)
    weighted = flat * (joint - loss[:, None]).exp_().view(-1)
    mean = weighted.view(over.shape).sum(dim=2)
    return float(loss.mean()), mean.mean(dim=1), (weighted @ flat.T - mean @ mean.T) / rows


def _halved(over: Tensor, *, weights: Tensor, step: Tensor, slope: Tensor, value: float) -> Tensor | None:
    """Weights after as much of a step as lowers the loss; None where none of it does."""
    members, rows, _ = over.shape
    part = 1.0
    for _ in range(30):
        tried = (weights - part * step).clamp(0.0, LARGEST)
        gain = float(slope @ (weights - tried))
        found = float((tried @ over.view(members, -1)).view(rows, -1).logsumexp(dim=1).mean())
        if gain > 0 and found <= value - 1e-4 * gain:
            return tried
        part /= 2
    return None


def greedy_weights(logp: Tensor, target: Tensor, *, rounds: int = ROUNDS) -> Tensor:
    """Shares ``(K,)`` of members in a bag that grows by the one that lowers the log loss of its mean the most.

    (Caruana et al., 2004, doi:10.1145/1015330.1015432.) A member may come in again; the bag of the best round is kept,
    and of members that are equally good the first.

    Args:
        logp: ``(R, K, C)`` float64.
        target: ``(R,)``.
        rounds: how often one is added.

    Example:
        >>> logp = torch.tensor([[[0.9, 0.1], [0.2, 0.8]], [[0.8, 0.2], [0.1, 0.9]]]).log()
        >>> greedy_weights(logp, torch.tensor([0, 1]), rounds=10).tolist()
        [0.5, 0.5]
    """
    chance = own_log_probability(logp, target).exp()
    count = torch.zeros(logp.shape[1], dtype=logp.dtype)
    bag, least, best = torch.zeros(len(chance), dtype=logp.dtype), torch.inf, count
    for size in range(1, rounds + 1):
        losses = -((bag[:, None] + chance) / size).clamp(min=_LEAST).log().mean(dim=0)
        pick = int((losses <= losses.min() + _TIE).nonzero()[0, 0])
        count[pick] += 1
        bag = bag + chance[:, pick]
        if float(losses[pick]) < least - _TIE:
            least, best = float(losses[pick]), count / size
    return best
