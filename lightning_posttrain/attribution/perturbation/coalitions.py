"""Which parts of a sample are there: coalitions to ask a model for, and how Shapley values follow from its outputs."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def every_coalition(count: int) -> Tensor:
    """All coalitions of so many parts ``(2^M, M)``, bool: those with the last part first, all parts in the first row.

    Example:
        >>> every_coalition(2).int().tolist()
        [[1, 1], [0, 1], [1, 0], [0, 0]]
    """
    numbers = torch.arange(2**count - 1, -1, -1)
    return (numbers[:, None] >> torch.arange(count)) & 1 == 1


def coalitions_of_size(count: int) -> Tensor:
    """How many coalitions there are of each size ``(M + 1,)`` int64, ``2^62`` where they are more.

    Example:
        >>> coalitions_of_size(4).tolist()
        [1, 4, 6, 4, 1]
    """
    return torch.tensor([min(math.comb(count, size), 2**62) for size in range(count + 1)])


def least_squares(design: Tensor, weights: Tensor) -> Tensor:
    r"""The matrix of a weighted least-squares fit whose coefficients have a given sum.

    With :math:`\phi = \Delta / M + \psi`, where :math:`\psi` sums to 0, a row :math:`x` of the design says
    :math:`y - \bar x \Delta = (x - \bar x)^T \psi`; the minimum of the weighted squares is linear in the left side.

    Args:
        design: ``(n, M)``.
        weights: of its rows ``(n,)``.

    Returns:
        ``(M, n)`` float64, which takes the left sides to ``psi``; that of least length where several fit as well.
    """
    centred = design.double() - design.double().mean(1, keepdim=True)
    weighted = centred.mT * weights.double()
    gram = weighted @ centred
    # centred rows leave out the direction of equal values: filled, so that no rounding error stands for it
    filled = gram + gram.diagonal().mean() / len(gram)
    inverse: Tensor = torch.linalg.pinv(filled, hermitian=True, rtol=1e-10)
    return inverse @ weighted
