"""The one number by which logits are multiplied, where the slope of a log loss by it is zero."""

from __future__ import annotations

import math
from collections.abc import Callable

from torch import Tensor

from lightning_posttrain.calibration.calibrators.scaling import COLDEST, HOTTEST

AT_ONCE = 1 << 17
"""Logits that are looked at in one pass, which a processor's cache holds."""
RULED_OUT = -1e30
"""What stands for the logit of a class that is ruled out: its probability is 0, and 0 times it is 0."""
CLOSE = 1e-8
"""How near the best scale is found, as a share of it: calibrators keep it in float32."""
_LOWEST, _HIGHEST = 1 / HOTTEST, 1 / COLDEST
_STEPS = 100


def best_scale(derivatives: Callable[[float], tuple[float, float]], start: float = 1.0) -> float:
    """Where a rising slope is 0, from 0.01 to 100: Newton's steps, and a halved bracket where these do not help.

    Args:
        derivatives: from a scale to the first and the second derivative of the loss.
        start: where to begin.
    """
    low, high, moved, seen = _LOWEST, _HIGHEST, math.inf, set[float]()
    scale = min(max(start, low), high)
    for _ in range(_STEPS):
        first, second = derivatives(scale)
        outward = scale >= _HIGHEST if first < 0 else scale <= _LOWEST
        if outward or not abs(first) > 0 or abs(first) <= CLOSE * scale * second:
            break
        seen.add(scale)
        low, high, ahead = (low, scale, low) if first > 0 else (scale, high, high)
        step = scale - first / second if second > 0 else math.inf
        if not low < step < high or abs(step - scale) > moved / 2:
            step = math.sqrt(low * high) if ahead in seen else ahead
        moved, scale = abs(step - scale), step
    return scale


def slope_of_classes(logits: Tensor, own: Tensor, scale: float) -> tuple[float, float]:
    """First and second derivative of the log loss by the scale, of logits whose largest in each row is 0.

    Args:
        logits: ``(N, C)`` float64, ``RULED_OUT`` where a class is.
        own: of each row's class ``(N,)``.
        scale: what they are multiplied by.
    """
    first = second = 0.0
    length = max(1, AT_ONCE // logits.shape[1])
    for start in range(0, len(own), length):
        part, wanted = logits[start : start + length], own[start : start + length]
        weight = (scale * part).exp_()
        total = weight.sum(dim=1)
        mean = weight.mul_(part).sum(dim=1) / total
        square = weight.mul_(part).sum(dim=1) / total
        first += float((mean - wanted).sum())
        second += float((square - mean.square()).sum())
    return first / max(len(own), 1), second / max(len(own), 1)
