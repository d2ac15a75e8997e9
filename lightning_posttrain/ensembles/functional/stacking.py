"""Stacking: a multinomial regression on members' log-probabilities, pulled to their mean."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from lightning_posttrain.ensembles.functional.combination import LEAST_FEATURE, Combination
from lightning_posttrain.ensembles.functional.folds import fold_of
from lightning_posttrain.ensembles.functional.rows import own_log_probability

CS = (1e-4, 1e-3, 1e-2, 1e-1)
"""Inverse strengths of the pull that are tried, as scikit-learn's ``C``."""
FOLDS = 3
FEWEST, FOR_EACH = 1000, 10
"""Rows that stacking is offered from, or rows for each of its numbers."""
MOST_NUMBERS, MOST_PRODUCTS = 20_000, 1 << 24
"""Numbers that are fitted at most, and products of a pass over the rows: more takes minutes."""
_STEPS = 200
_ROUGHLY, _CLOSELY = 1e-4, 1e-7


def stacking(logp: Tensor, target: Tensor) -> Combination:
    r"""A linear map of all members' log-probabilities, added to their mean, with the least log loss and a small norm.

    It minimises :math:`-\sum_n \log \mathrm{softmax}(\frac{1}{K} \sum_k \log p_{nk} + W^T x_n + b)_{y_n}
    + \|W\|^2 / 2C`, where :math:`x` is the log-probabilities, clamped at -30 (stacked generalisation; Wolpert, 1992,
    doi:10.1016/S0893-6080(05)80023-1). As ``C`` goes to 0 it is the mean of logits. ``C`` is the one of 1e-4 to 1e-1
    with the least log loss on rows that were left out.

    Args:
        logp: log-probabilities ``(R, K, C)`` float64.
        target: classes ``(R,)``.
    """
    logp, target = _fewer(logp, target)
    return stack(logp, target, best_c(logp, target))


def why_not_stacking(rows: int, members: int, classes: int) -> str:
    """Why stacking is not offered, as ``"too few rows …"``; empty where it is."""
    numbers = (members * classes + 1) * classes
    if numbers > MOST_NUMBERS:
        return f"{numbers:,} numbers are too many to fit, {MOST_NUMBERS:,} at most"
    if rows < min(FEWEST, FOR_EACH * numbers):
        return f"{rows:,} rows outside of a fold are too few, wanted {min(FEWEST, FOR_EACH * numbers):,} at least"
    return ""


def _fewer(logp: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """As many rows as take seconds, drawn once for all."""
    most = max(FEWEST, MOST_PRODUCTS // (logp.shape[1] * logp.shape[2] ** 2))
    if len(target) <= most:
        return logp, target
    drawn = torch.randperm(len(target), generator=torch.Generator().manual_seed(0))[:most].sort().values
    return logp[drawn], target[drawn]


def stack(logp: Tensor, target: Tensor, c: float) -> Combination:
    """Stacking with a given ``C``.

    Args:
        logp: log-probabilities ``(R, K, C)`` float64.
        target: classes ``(R,)``.
        c: inverse strength of the pull to the mean.
    """
    problem = _Problem.of(logp, target)
    return problem.combination(*problem.solve(c, None, _CLOSELY))


def best_c(logp: Tensor, target: Tensor) -> float:
    """The ``C`` with the least log loss on folds that were left out; a larger one is tried while it helps."""
    fold = fold_of(len(target), FOLDS, seed=1)
    problems = [_Problem.of(logp[fold != number], target[fold != number]) for number in range(FOLDS)]
    learned: list[tuple[Tensor, Tensor] | None] = [None] * FOLDS
    best, least = CS[0], math.inf
    for c in CS:
        loss = 0.0
        for number, problem in enumerate(problems):
            left = fold == number
            found = problem.solve(c, learned[number], _ROUGHLY)
            loss -= float(own_log_probability(problem.combination(*found)(logp[left]), target[left]).sum())
            learned[number] = found
        if loss >= least:
            break
        best, least = c, loss
    return best


@final
@dataclass(frozen=True, eq=False)
class _Problem:
    """The regression in the principal axes of its features, in which few steps are needed.

    Args:
        offset: mean of members' log-probabilities ``(R, C)``.
        features: in their axes, about their means ``(R, F)``.
        axes: ``(F, F)``, a column each.
        spread: variance along each ``(F,)``.
        mean: of the features as they came ``(F,)``.
        target: classes ``(R,)``.
    """

    offset: Tensor
    features: Tensor
    axes: Tensor
    spread: Tensor
    mean: Tensor
    target: Tensor

    @classmethod
    def of(cls, logp: Tensor, target: Tensor) -> _Problem:
        features = logp.clamp(min=LEAST_FEATURE).flatten(1)
        mean = features.mean(dim=0)
        features = features - mean
        spread, axes = torch.linalg.eigh(features.T @ features / len(features))
        return cls(logp.mean(dim=1), features @ axes, axes, spread.clamp(min=0), mean, target)

    def solve(self, c: float, start: tuple[Tensor, Tensor] | None, close: float) -> tuple[Tensor, Tensor]:
        """Coefficients in the axes ``(F, C)`` and a bias ``(C,)``: L-BFGS with an analytic gradient.

        Args:
            c: inverse strength of the pull.
            start: what another ``c`` gave.
            close: the largest slope that is left.
        """
        rows, pull = len(self.target), 1 / (c * len(self.target))
        scale = (self.spread / 4 + pull).rsqrt()[:, None]  # so that the loss is about as curved along every axis
        features = self.features * scale[:, 0]
        shape = len(scale), self.offset.shape[1]
        map_, bias = start or (self.offset.new_zeros(shape), self.offset.new_zeros(shape[1]))
        learned = [map_ / scale, bias.clone()]
        optimizer = torch.optim.LBFGS(
            learned, max_iter=_STEPS, tolerance_grad=close, tolerance_change=1e-12, line_search_fn="strong_wolfe"
        )

        def loss() -> Tensor:
            chance = (self.offset + features @ learned[0] + learned[1]).log_softmax(dim=1)
            value = -own_log_probability(chance, self.target).mean()
            off = chance.exp_().scatter_add_(1, self.target[:, None], -chance.new_ones(rows, 1)) / rows
            pulled = pull * scale.square() * learned[0]
            learned[0].grad, learned[1].grad = features.T @ off + pulled, off.sum(dim=0)
            return value + (pulled * learned[0]).sum() / 2

        optimizer.step(loss)  # type: ignore[no-untyped-call]
        return learned[0] * scale, learned[1]

    def combination(self, map_: Tensor, bias: Tensor) -> Combination:
        """Coefficients and bias for features as they come."""
        members, coefficients = self.features.shape[1] // self.offset.shape[1], self.axes @ map_
        weights = torch.full((members,), 1 / members, dtype=torch.float64)
        return Combination("stacked", weights, coefficients=coefficients, bias=bias - self.mean @ coefficients)
