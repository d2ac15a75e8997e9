"""How large a share can be, given what was counted."""

from __future__ import annotations

import math
from functools import lru_cache
from statistics import NormalDist

SMALLEST = 1e-300


@lru_cache(4096)
def upper_bound(errors: float, rows: float, *, level: float = 0.95) -> float:
    """The share of errors that is exceeded with probability ``1 - level`` at most: one-sided, exact, never too small.

    Clopper and Pearson, 1934, doi:10.1093/biomet/26.4.404: the ``level`` quantile of the beta distribution with
    parameters ``errors + 1`` and ``rows - errors``. 1 where all are errors, NaN without rows. Numbers may be effective
    ones, with a fraction.

    Example:
        >>> round(upper_bound(0, 59), 4)
        0.0495
    """
    if not rows or errors == rows:
        return 1.0 if rows else math.nan
    return max(_beta_quantile(errors + 1, rows - errors, level), errors / rows)


def _beta_quantile(a: float, b: float, level: float) -> float:
    """Below which a beta distribution has a share ``level``: Newton's steps within a bracket that each narrows."""
    low, high = 0.0, 1.0
    mean = a / (a + b)
    place = mean + NormalDist().inv_cdf(level) * math.sqrt(mean * (1 - mean) / (a + b + 1))
    place = min(max(place, mean / 2), (1 + mean) / 2)
    for _ in range(200):
        value = incomplete_beta(a, b, place) - level
        low, high = (place, high) if value < 0 else (low, place)
        if abs(value) < 1e-15 or high - low < 1e-15:
            break
        density = math.exp(_log_density(a, b, place))
        step = place - value / density if density > 0 else low
        if abs(step - place) < 1e-8 * min(place, 1 - place):  # the error of a step is about its square
            return step
        place = step if low < step < high else (low + high) / 2
    return place


def _log_density(a: float, b: float, x: float) -> float:
    size = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    return size + (a - 1) * math.log(x) + (b - 1) * math.log1p(-x)


def wilson_interval(share: float, rows: float, *, z: float = 1.959964) -> tuple[float, float]:
    """Both ends of the interval for a share by the score test, 95 % by default; NaN without rows.

    Wilson, 1927, doi:10.1080/01621459.1927.10502953: the shares that lie ``z`` of their own standard errors from what
    was counted.

    Example:
        >>> [round(end, 4) for end in wilson_interval(0.9, 10)], wilson_interval(1.0, 1)[1]
        ([0.5958, 0.9821], 1.0)
    """
    if not rows:
        return math.nan, math.nan
    middle = (share + z * z / (2 * rows)) / (1 + z * z / rows)
    half = z / (1 + z * z / rows) * math.sqrt(share * (1 - share) / rows + z * z / (4 * rows * rows))
    return max(middle - half, 0.0), min(middle + half, 1.0)


def share_interval(hits: int, rows: int, *, level: float = 0.95) -> tuple[float, float]:
    """Both ends of an interval for a share, exact: it lies below or above with ``(1 - level) / 2`` at most, each.

    Clopper and Pearson, 1934, doi:10.1093/biomet/26.4.404. NaN without rows.

    Example:
        >>> [round(end, 4) for end in share_interval(9, 10)]
        [0.555, 0.9975]
    """
    side = (1 + level) / 2
    return 1 - upper_bound(rows - hits, rows, level=side), upper_bound(hits, rows, level=side)


def binomial_tail(hits: int, rows: int, share: float) -> float:
    """How probable as many hits or more are, where each of ``rows`` is one with probability ``share``: exact.

    Example:
        >>> round(binomial_tail(9, 10, 0.5), 6)
        0.010742
    """
    if hits <= 0:
        return 1.0
    return incomplete_beta(hits, rows - hits + 1, share) if hits <= rows else 0.0


def incomplete_beta(a: float, b: float, x: float) -> float:
    r"""The regularised incomplete beta function :math:`I_x(a, b)`, the distribution function of a beta distribution.

    By its continued fraction (https://dlmf.nist.gov/8.17#E22), which converges fast on one side of the mean; the
    other side follows from :math:`I_x(a, b) = 1 - I_{1-x}(b, a)`.

    Example:
        >>> incomplete_beta(1, 1, 0.25)
        0.25
    """
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):
        return 1 - incomplete_beta(b, a, 1 - x)
    size = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    return math.exp(size) * _fraction(a, b, x) / a


def _fraction(a: float, b: float, x: float) -> float:
    """The continued fraction, by the method of Lentz (1976, doi:10.1364/AO.15.000668)."""
    front, back = 1.0, 0.0
    value = 1.0
    for n in range(1, 100_000):
        m = n // 2
        if n % 2:
            term = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        else:
            term = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        back = 1 / (1 + term * back or SMALLEST)
        front = 1 + term / front or SMALLEST
        value *= front * back
        if abs(front * back - 1) < 1e-15:
            break
    return 1 / value
