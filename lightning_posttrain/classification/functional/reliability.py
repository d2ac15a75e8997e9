"""Bins of probabilities, the same wherever a calibration error is worked out."""

from __future__ import annotations

from torch import Tensor

ROUNDING = 1e-6
"""A probability so little above an edge is at it: told from logits, or kept in float32, it is rounded."""


def bin_of_probability(probabilities: Tensor, bins: int) -> Tensor:
    """Number ``b`` from 0 of the bin of equal width ``(b / B, (b + 1) / B]``, int64, of each probability.

    The bins of Guo et al., 2017, arXiv:1706.04599; 0 is in the first.

    Args:
        probabilities: any shape, 0 to 1.
        bins: ``B``.

    Example:
        >>> import torch
        >>> bin_of_probability(torch.tensor([0.0, 0.2, 0.21, 1.0]), 5).tolist()
        [0, 0, 1, 4]
    """
    return ((probabilities - ROUNDING) * bins).ceil().long().sub(1).clamp(0, bins - 1)
