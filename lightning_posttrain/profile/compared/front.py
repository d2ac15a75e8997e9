"""The Pareto front: what nothing else is better than at no more cost."""

from __future__ import annotations

import math
from collections.abc import Sequence


def on_front(values: Sequence[float], costs: Sequence[float], *, falling: bool = False) -> list[bool]:
    """Which of several are on the front: none is as good at less cost, or better at as much or less.

    Args:
        values: how good each is.
        costs: of each; what is NaN in either is on no front.
        falling: whether smaller values are better, as of a loss.

    Example:
        >>> on_front([0.9, 0.95, 0.94], [10, 20, 30])
        [True, True, False]
    """
    gains = [-value if falling else value for value in values]
    pairs = list(zip(gains, costs, strict=True))
    return [all(map(math.isfinite, pair)) and not any(_beats(other, pair) for other in pairs) for pair in pairs]


def _beats(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return one[0] >= other[0] and one[1] <= other[1] and one != other
