"""Coalitions of parts: all of them, some of each size, and least squares over them."""

from __future__ import annotations

import math
from itertools import chain, combinations

import numpy as np
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


def different_of_size(count: int, taken: Tensor, generator: torch.Generator) -> Tensor:
    """Random coalitions, no two of which are equal or complements of each other, each as likely as the others.

    Args:
        count: ``M``, how many parts there are.
        taken: how many of size 1, 2, ..., up to half of the parts.
        generator: on the CPU.

    Returns:
        ``(n, M)``, bool.

    Example:
        >>> different_of_size(3, torch.tensor([3]), torch.Generator()).sum(0).tolist()
        [1, 1, 1]
    """
    size = torch.arange(1, len(taken) + 1)
    # where many of a size are wanted, draws would mostly repeat what is there
    crowded = 4 * taken >= coalitions_of_size(count)[1 : len(taken) + 1] // (1 + (2 * size == count).long())
    found = []
    for one, number in zip(size[crowded].tolist(), taken[crowded].tolist(), strict=True):
        whole = _of_size(count, one)
        found.append(whole[torch.randperm(len(whole), generator=generator)[:number]])
    sparse = size.repeat_interleave(taken.where(~crowded, 0))
    rows = _random_of_size(count, sparse, generator)
    while len(repeated := _not_first(rows)):
        rows[repeated] = _random_of_size(count, sparse[repeated], generator)
    return torch.cat([*found, rows])


def first_of_each(rows: Tensor) -> Tensor:
    """Numbers of rows ``(n, M)`` bool that differ, the first of each kind, in order.

    Example:
        >>> first_of_each(torch.tensor([[True, False], [True, False], [False, False]])).tolist()
        [0, 2]
    """
    packed = np.packbits(rows.numpy(), axis=1)
    return torch.from_numpy(np.unique(packed, axis=0, return_index=True)[1]).sort().values


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


def _not_first(rows: Tensor) -> Tensor:
    """Numbers of rows that stood before."""
    repeated = torch.ones(len(rows), dtype=torch.bool)
    repeated[first_of_each(rows)] = False
    return repeated.nonzero()[:, 0]


def _of_size(count: int, size: int) -> Tensor:
    """All coalitions of a size ``(n, M)``; of those and their complements of the same size, the ones with part 0."""
    half = 2 * size == count
    chosen = combinations(range(1, count), size - 1) if half else combinations(range(count), size)
    members = torch.from_numpy(np.fromiter(chain.from_iterable(chosen), np.int64)).view(-1, size - half)
    rows = torch.zeros(math.comb(count, size) // (1 + half), count, dtype=torch.bool)
    rows[:, :1] = half
    return rows.scatter(1, members, True)


def _random_of_size(count: int, size: Tensor, generator: torch.Generator) -> Tensor:
    """Random coalitions of sizes ``(n,)``, as ``_of_size`` has them."""
    drawn = torch.rand(len(size), count, generator=generator, dtype=torch.float64)
    rows = drawn <= drawn.sort(1).values.gather(1, size[:, None] - 1)
    return rows ^ ((2 * size[:, None] == count) & ~rows[:, :1])
