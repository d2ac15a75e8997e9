"""The largest difference between two arrays of probabilities."""

from __future__ import annotations

import numpy as np

from lightning_posttrain.export.signature import Array


def largest_difference(one: Array, other: Array) -> float:
    """Largest absolute difference of two arrays of one shape, in float64; equal infinities and NaN on both sides are 0.

    Args:
        one: of any shape.
        other: of the same.

    Returns:
        It; 0 of empty arrays, NaN where one of both is NaN and the other is not.

    Example:
        >>> largest_difference(np.array([0.5, np.nan, np.inf]), np.array([0.25, np.nan, np.inf]))
        0.25
    """
    have, want = one.astype(np.float64), other.astype(np.float64)
    same = (have == want) | (np.isnan(have) & np.isnan(want))
    with np.errstate(invalid="ignore"):
        return float(np.where(same, 0.0, np.abs(have - want)).max(initial=0.0))
