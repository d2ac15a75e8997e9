"""Which coalitions to ask a model for, and how Shapley values follow from its outputs.

A coalition is asked for together with its complement. Of the two outputs only the difference matters: the weights that
Shapley values give to a coalition and to its complement are the same, with opposite signs.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from lightning_posttrain.explanations.perturbation.coalitions import (
    coalitions_of_size,
    different_of_size,
    every_coalition,
    least_squares,
)

Method = Literal["auto", "exact", "kernel", "permutation"]
EXACT = 12
"""So many parts are exact without a word."""
MOST = 20
"""So many parts are exact at all: a million coalitions."""
FEWEST = 4
"""Draws that tell how much they vary."""


class Solved(NamedTuple):
    """Shapley values and their standard errors, each ``(K, M, C)`` float64."""

    values: Tensor
    errors: Tensor


@dataclass(frozen=True, eq=False)
class Plan:
    """Coalitions, and what follows from the outputs for them.

    Args:
        method: ``"exact"``, ``"kernel"`` or ``"permutation"``.
        half: one coalition of each pair ``(P, M)``, bool; the first row has all parts.
        solve: from how much larger the outputs are than those for the complements ``(K, P, C)`` float64.
    """

    method: str
    half: Tensor
    solve: Callable[[Tensor], Solved]

    @property
    def coalitions(self) -> Tensor:
        """All coalitions ``(2P, M)``: the half, then its complements; no part is in row ``P``."""
        return torch.cat([self.half, ~self.half])


def planned(count: int, method: Method = "auto", samples: int | None = None, seed: int = 0) -> Plan:
    """The coalitions of a method for so many parts.

    Args:
        count: ``M``, how many parts there are.
        method: ``"auto"`` is exact for up to 12 parts, else the kernel; all methods but permutations are exact where
            ``samples`` allow all coalitions.
        samples: coalitions, at most; None for ``2 M + 1024``. What is exact takes all ``2^M``.
        seed: of what is drawn, from its own generator on the CPU.

    Raises:
        ValueError: an unknown method, too many parts for all coalitions, or too few samples for as many parts.

    Example:
        >>> planned(3).method, len(planned(3).coalitions), planned(30).method, len(planned(30).coalitions)
        ('exact', 8, 'kernel', 1084)
    """
    if method not in get_args(Method):
        raise ValueError(f"`method` is {method!r}, wanted one of {', '.join(get_args(Method))}.")
    few = method == "auto" and samples is None and count <= EXACT
    samples = 2 * count + 1024 if samples is None else samples
    all_of_them = method in ("auto", "kernel") and samples >= 2**count
    if method == "exact" or few or all_of_them or count == 1:
        return _exact(count)
    generator = torch.Generator().manual_seed(seed)
    least = 2 * count + 2 if method != "permutation" else 2 * count
    if samples < least:
        raise ValueError(
            f"`samples` is {samples} for {count} parts, wanted at least {least}. Raise it, or make fewer, larger parts."
        )
    return (_permutations if method == "permutation" else _kernel)(count, samples, generator)


def _exact(count: int) -> Plan:
    r"""All coalitions: :math:`\phi_i = \sum_{S \ni i} (s-1)! (M-s)! / M! \, (v(S) - v(S \setminus \{i\}))`."""
    if not 1 <= count <= MOST:
        raise ValueError(
            f"`count` is {count}, wanted 1 to {MOST} parts where all coalitions are asked for. "
            "Leave `method` at 'auto', or make fewer, larger parts."
        )
    # the first half are the coalitions with the last part, whose complements are the others
    half = every_coalition(count)[: 2 ** (count - 1)]
    orders = [1 / (count * math.comb(count - 1, size)) for size in range(count)]
    size, weights = half.sum(1), torch.tensor([math.nan, *orders, math.nan], dtype=torch.float64)
    matrix = torch.where(half.mT, weights[size], -weights[size + 1])

    def solve(differences: Tensor) -> Solved:
        values = matrix @ differences
        return Solved(values, torch.zeros_like(values))

    return Plan("exact", half, solve)


def _kernel(count: int, samples: int, generator: torch.Generator) -> Plan:
    r"""Paired KernelSHAP (Lundberg and Lee, 2017, arXiv:1705.07874; Covert and Lee, 2021, arXiv:2012.01536).

    The Shapley values are the linear model :math:`v(S) - v(S^c) \approx \sum_i \pm \phi_i` with the sum that the output
    has, of least squares with weights :math:`1 / (s (M - s))` for each size, divided over its coalitions. What is drawn
    changes them, to first order, by the sum of what each pair adds: its column of the matrix times its residual. So the
    standard error is that of deleting one drawn pair at a time (the jackknife, in its closed form for least squares,
    with the residual over one minus the leverage), times the share of a size that was not drawn.
    """
    half, weights, chance = _pairs(count, samples // 2 - 1, generator)
    design = half.double() * 2 - 1
    matrix, mean = least_squares(design, weights), design.mean(1)
    centred = design - mean[:, None]
    leverage = (centred * matrix.mT).sum(1)
    # enumerated pairs add no noise
    noise = torch.where(chance < 1, (1 - chance).sqrt() / (1 - leverage).clamp(min=1e-6), 0.0)
    unknown = (chance < 1).sum() < FEWEST
    deviation = (matrix * noise).square()

    def solve(differences: Tensor) -> Solved:
        total = differences[:, :1]
        left = differences[:, 1:] - mean[:, None] * total
        slopes = matrix @ left
        errors = (deviation @ (left - centred @ slopes).square()).sqrt()
        return Solved(total / count + slopes, errors.masked_fill(unknown, torch.nan))

    return Plan("kernel", torch.cat([torch.ones(1, count, dtype=torch.bool), half]), solve)


def _pairs(count: int, pairs: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Coalitions ``(P, M)`` up to half of the parts, their weights, and the chance of each to be there, 1 for sure.

    From the smallest size on, all coalitions of a size are there while that costs no more than the size's share of what
    is left; the others are drawn without repeats, in proportion to the weights of their sizes.
    """
    sizes = range(1, count // 2 + 1)
    kinds = coalitions_of_size(count)[1 : count // 2 + 1].double()
    share = torch.tensor([1 / (size * (count - size)) for size in sizes], dtype=torch.float64)
    if count % 2 == 0:
        # where a complement is of the same size, half as many pairs
        kinds[-1], share[-1] = kinds[-1] / 2, share[-1] / 2
    left, whole = pairs, 0
    while whole < len(sizes) and (not whole or left * share[whole] >= kinds[whole] * share[whole:].sum() * (1 - 1e-9)):
        left -= int(kinds[whole])
        whole += 1
    rest = share[whole:].sum()
    wanted = left * share[whole:] / rest
    # systematic: whole numbers whose expectation is what is wanted
    steps = torch.cat([wanted.new_zeros(1), wanted.cumsum(0)[:-1], wanted.new_full((1,), left)])
    drawn = (steps[: len(wanted) + 1] + torch.rand(1, generator=generator).double()).floor().diff()
    taken = torch.cat([kinds[:whole], drawn]).long()
    each = torch.cat([share[:whole] / kinds[:whole], (rest / max(left, 1)).expand(len(wanted))])
    chance = torch.cat([torch.ones(whole).double(), wanted / kinds[whole:]])
    half = different_of_size(count, taken, generator)
    place = half.sum(1) - 1
    return half, each[place], chance[place]


def _permutations(count: int, samples: int, generator: torch.Generator) -> Plan:
    """Antithetic permutations (Mitchell et al., 2022, arXiv:2104.12199): what each part adds when it comes.

    An order and its reverse ask for coalitions and their complements, and each such pair is additive by itself; the
    standard error is that of the mean over the pairs of orders.
    """
    number = (samples - 2) // (2 * (count - 1))
    place = torch.rand(number, count, generator=generator, dtype=torch.float64).argsort(1)
    lengths = torch.arange(1, count)
    half = (place[:, None] < lengths[:, None]).flatten(0, 1)

    def solve(differences: Tensor) -> Solved:
        samples, outputs = len(differences), differences.shape[2]
        total = differences[:, :1, None].expand(samples, 1, number, outputs)
        inner = differences[:, 1:].view(samples, number, count - 1, outputs).transpose(1, 2)
        added = torch.cat([-total, inner, total], 1).diff(dim=1) / 2
        index = place.mT[None, :, :, None].expand_as(added)
        of_each = added.gather(1, index)
        errors = of_each.var(2, correction=min(1, number - 1)).div(number).sqrt()
        return Solved(of_each.mean(2), errors.masked_fill(torch.tensor(number < FEWEST), torch.nan))

    return Plan("permutation", torch.cat([torch.ones(1, count, dtype=torch.bool), half]), solve)
