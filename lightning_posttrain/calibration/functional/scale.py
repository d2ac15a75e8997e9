"""The one number by which logits are multiplied, where the slope of a log loss by it is zero."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from lightning_posttrain.calibration.calibrators.scaling import COLDEST, HOTTEST
from lightning_posttrain.calibration.functional.passes import split, split_both

RULED_OUT = -1e30
"""What stands for the logit of a class that is ruled out: its probability is 0, and 0 times it is 0."""
CLOSE = 1e-8
"""How near the best scale is found, as a share of it: calibrators keep it in float32."""
ORDERS = 6
"""Derivatives by the scale: a step of so many terms gets as near as several of two."""
SAMPLE = 8
"""One in so many rows tell where to begin, where all are more than a pass."""
_LOWEST, _HIGHEST = 1 / HOTTEST, 1 / COLDEST
_STEPS = 100


def best_scale(derivatives: Callable[[float], Sequence[float]], start: float = 1.0) -> float:
    """Where a rising slope is 0, from 0.01 to 100: Newton's steps, and a halved bracket where these do not help.

    Args:
        derivatives: from a scale to the first, second and further derivatives of the loss; with more than two, a step
            is to the zero of their Taylor polynomial, and the last where one term less leads to the same place.
        start: where to begin.
    """
    low, high, moved, seen = _LOWEST, _HIGHEST, math.inf, set[float]()
    scale = min(max(start, low), high)
    for _ in range(_STEPS):
        found = derivatives(scale)
        first, second = found[:2]
        outward = scale >= _HIGHEST if first < 0 else scale <= _LOWEST
        if outward or not abs(first) > 0 or abs(first) <= CLOSE * scale * second:
            break
        seen.add(scale)
        low, high, ahead = (low, scale, low) if first > 0 else (scale, high, high)
        step, sure = zero_near(found, scale)
        inside = low < step < high
        if inside and sure:
            return step
        if not inside or abs(step - scale) > moved / 2:
            step = math.sqrt(low * high) if ahead in seen else ahead
        moved, scale = abs(step - scale), step
    return scale


def zero_near(derivatives: Sequence[float], scale: float) -> tuple[float, bool]:
    """Where the slope is 0 as derivatives at a scale have it, and whether one of them less says the same.

    Infinite where they have no zero.

    Example:
        >>> zero_near([-1.0, 2.0], 1.0)
        (1.5, False)
    """
    first, second = derivatives[:2]
    steps = [_zero(derivatives[:terms]) for terms in (len(derivatives) - 1, len(derivatives)) if terms > 1]
    sure = len(steps) == 2 and abs(steps[1] - steps[0]) <= CLOSE * scale  # never where there is no zero
    step = steps[-1] if math.isfinite(steps[-1]) else -first / second if second > 0 else math.inf
    return scale + step, sure


def _zero(derivatives: Sequence[float]) -> float:
    """The zero nearest 0 of a polynomial with these derivatives there, by Newton's steps; NaN where they find none."""
    first, second = derivatives[:2]
    if not second > 0:
        return math.nan
    terms = [value / math.factorial(power) for power, value in enumerate(derivatives)]
    step = -first / second
    for _ in range(20):
        value, slope = 0.0, 0.0
        for term in reversed(terms):
            value, slope = value * step + term, slope * step + value
        if not slope > 0:
            return math.nan
        step -= value / slope
        if abs(value / slope) <= 1e-12 * abs(step):
            return step
    return math.nan


def scale_of_classes(logits: Tensor, target: Tensor, start: float | None = None) -> float:
    """The scale of logits that makes the log loss smallest.

    Args:
        logits: ``(N, C)``; of a class that is ruled out -inf.
        target: class ``(N,)``; a row whose own class is ruled out has no say.
        start: near where it is; None to begin with a part of the rows.
    """
    if start is None:
        some = slice(None, None, SAMPLE)
        start = scale_of_classes(logits[some], target[some], 1.0) if len(split(logits)) > SAMPLE else 1.0
    return best_scale(partial(_derivatives, logits, target), start)


def scales_without_each(logits: Tensor, target: Tensor, fold: Tensor, whole: float) -> list[float]:
    """The best scale for the rows outside of each fold, as ``scale_of_classes`` finds it.

    All follow from one look at the rows, where the folds do not differ much.

    Args:
        logits: ``(N, C)``.
        target: class ``(N,)``.
        fold: of each row, from 0 ``(N,)``.
        whole: the best scale for all rows.
    """
    rows = derivatives_of_rows(logits, target, whole)
    folds = int(fold.max()) + 1
    inside = rows.new_zeros(ORDERS, folds).index_add_(1, fold, rows)
    outside = (rows.sum(dim=1, keepdim=True) - inside).t().tolist()
    near = [zero_near(derivatives, whole) for derivatives in outside]
    return [
        step if sure and _LOWEST < step < _HIGHEST else scale_of_classes(logits[others], target[others], whole)
        for (step, sure), others in zip(near, ((fold != k).to(logits.device) for k in range(folds)), strict=True)
    ]


def _derivatives(logits: Tensor, target: Tensor, scale: float) -> list[float]:
    found: list[float] = derivatives_of_rows(logits, target, scale).sum(dim=1).tolist()
    return found


def derivatives_of_rows(logits: Tensor, target: Tensor, scale: float) -> Tensor:
    """Derivatives of the log loss by the scale, the first to the sixth, of each row ``(6, N)`` float64.

    That of order ``k`` is the ``k``-th cumulant of the logits under the probabilities that they have at the scale; from
    the first the logit of the row's own class is taken. A row whose own class is ruled out has 0.

    Args:
        logits: ``(N, C)``.
        target: class ``(N,)``.
        scale: what they are multiplied by.
    """
    pieces = [_of_some(some.double(), own, scale) for some, own in split_both(logits, target)]
    return torch.cat(pieces, dim=1).cpu()


def _of_some(logits: Tensor, target: Tensor, scale: float) -> Tensor:
    below = logits - logits.amax(dim=1, keepdim=True)  # changes no probability, and keeps numbers small
    own = below.gather(1, target[:, None])[:, 0]
    below.clamp_(min=RULED_OUT)
    weight = (scale * below).exp_()
    total = weight.sum(dim=1)
    moments = torch.stack([weight.mul_(below).sum(dim=1) for _ in range(ORDERS)]) / total
    found = _cumulants(moments)
    found[0] -= own
    return found.where(own.isfinite(), 0.0)


def _cumulants(moments: Tensor) -> Tensor:
    """Cumulants from moments about 0, each ``(K, N)``, by the recursion of Smith (1995, doi:10.2307/2684642)."""
    found = torch.empty_like(moments)
    for n in range(len(moments)):
        lower = sum((math.comb(n, k - 1) * found[k - 1] * moments[n - k] for k in range(1, n + 1)), 0.0)
        found[n] = moments[n] - lower
    return found
