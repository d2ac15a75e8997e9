"""One set of masks and the outputs for them, from which many explanations follow without another forward."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from lightning_posttrain.explanations.perturbation.coalitions import (
    coalitions_of_size,
    every_coalition,
    first_of_each,
    least_squares,
)
from lightning_posttrain.explanations.perturbation.cooperative_game import Game

ENOUGH = 4
"""Rows for each part that a set of masks must be worth, to be read as Shapley values."""


@dataclass(frozen=True, eq=False)
class Pool:
    """What a model gives where each part is there or not, with even odds.

    Args:
        present: which parts are there ``(n, M)``, bool; all of them in the first row.
        outputs: what the model gives ``(K, n, C)``.
    """

    present: Tensor
    outputs: Tensor

    def __len__(self) -> int:
        return len(self.present)

    @property
    def complete(self) -> bool:
        """Whether all masks are there that there are, so that nothing was left to chance."""
        rows, parts = self.present.shape
        return bool(parts < 40 and rows == 2**parts and len(torch.unique(self.present, dim=0)) == rows)


def draw_pool(game: Game, samples: int = 2048, seed: int = 0) -> Pool:
    """Ask for the outputs of random masks, or of all masks where these are no more, in random order.

    Where the time is over, the pool is smaller, and as random.

    Args:
        game: samples and their parts.
        samples: masks, at most; the first has all parts.
        seed: of the masks, which come from their own generator on the CPU.

    Raises:
        ValueError: ``samples`` is below 1.

    Example:
        >>> x = torch.tensor([[1.0, 2.0]])
        >>> game = Game(lambda rows: rows.sum(1), x, torch.arange(2)[None], 2, torch.zeros(1, 1, 2))
        >>> sorted(draw_pool(game).outputs.flatten().tolist())
        [0.0, 1.0, 2.0, 3.0]
    """
    if samples < 1:
        raise ValueError(f"`samples` is {samples}, wanted 1 or more. Leave it out for 2048.")
    generator = torch.Generator().manual_seed(seed)
    if game.count < 62 and 2**game.count <= samples:
        present = every_coalition(game.count)
        present[1:] = present[1 + torch.randperm(len(present) - 1, generator=generator)]
    else:
        present = torch.rand(samples, game.count, generator=generator) < 0.5
        present[0] = True
    outputs = game.outputs(present, partial=True)
    return Pool(present[: outputs.shape[1]], outputs)


def banzhaf(present: Tensor, outputs: Tensor) -> Tensor:
    """How much more the output is with a part than without it, on average over the others there or not (Banzhaf, 1965).

    The least-squares fit of a linear model to masks of even odds: exact where all ``2^M`` masks are there (Hammer and
    Holzman, 1992, Zeitschrift für Operations Research 36, 3-21), else with the error of a sample.

    Args:
        present: ``(n, M)``, bool.
        outputs: ``(K, n, C)``.

    Returns:
        ``(K, C, M)`` float64 on the CPU, in units of the output.

    Example:
        >>> both = torch.tensor([[1.0, 0.0, 0.0, 0.0]])[..., None]
        >>> banzhaf(every_coalition(2), both).tolist()
        [[[0.5, 0.5]]]
    """
    there = present.cpu().double()
    centred = there - there.mean(0)
    inverse = torch.linalg.pinv(centred.mT @ centred, hermitian=True, rtol=1e-10)
    return _applied(inverse @ centred.mT, outputs)


def rise(present: Tensor, outputs: Tensor) -> Tensor:
    """The mean output where a part is there (RISE: Petsiuk, Das and Saenko, 2018, arXiv:1806.07421).

    Args:
        present: ``(n, M)``, bool.
        outputs: ``(K, n, C)``.

    Returns:
        ``(K, C, M)`` float64 on the CPU, in units of the output; NaN for a part that never is.

    Example:
        >>> rise(torch.tensor([[True, True], [False, True]]), torch.tensor([[[4.0], [2.0]]])).tolist()
        [[[4.0, 3.0]]]
    """
    there = present.cpu().double()
    return _applied(there.mT, outputs) / there.sum(0)


def kernel_shap_from_pool(present: Tensor, outputs: Tensor, base: Tensor | None = None) -> Tensor | None:
    r"""Shapley values by KernelSHAP (Lundberg and Lee, 2017, arXiv:1705.07874) from masks of even odds.

    Each size :math:`s` of coalitions has the share :math:`\pi_s \propto 1 / (s (M - s))` of the weight, divided over
    the :math:`n_s` different masks of that size, of :math:`N_s`. Drawn without repeats they carry the noise of
    :math:`1 / \sum_s \pi_s^2 (1 - n_s / N_s) / n_s` rows of equal weight: infinitely many where all masks are there,
    when the values are exact, and none where a size lacks. Masks of even odds seldom have the sizes that weigh most:
    2048 of them serve up to some 13 parts. For more parts, use ``shapley``.

    Args:
        present: ``(n, M)``, bool, with a row of all parts.
        outputs: ``(K, n, C)``.
        base: outputs where no part is there ``(K, C)``; None where such a row is in the pool.

    Returns:
        ``(K, C, M)`` float64 on the CPU, in units of the output, whose sum is exact; None where the masks are worth
        fewer than 4 rows for each part, or one of the rows of all parts and of none lacks.

    Example:
        >>> both = torch.tensor([[1.0, 0.0, 0.0, 0.0]])[..., None]
        >>> kernel_shap_from_pool(every_coalition(2), both).round(decimals=9).tolist()
        [[[0.5, 0.5]]]
    """
    present, count = present.cpu(), present.shape[1]
    kept = first_of_each(present)
    size = present[kept].sum(1)
    ends = _ends(present, outputs, base)
    weights = None if ends is None else _weights(size, count)
    if ends is None or weights is None:
        return None
    low, full = ends
    total = full - low
    inner = (size > 0) & (size < count)
    rows = kept[inner]
    there = present[rows].double()
    left = outputs[:, rows.to(outputs.device)].cpu().double() - low[:, None] - there.mean(1)[:, None] * total[:, None]
    return total[..., None] / count + _applied(least_squares(there, weights[inner]), left)


def _weights(size: Tensor, count: int) -> Tensor | None:
    """Weights of different masks of so many parts ``(n,)``, or None where they do not allow Shapley values."""
    sizes = torch.arange(1, count, dtype=torch.float64)
    share = 1 / (sizes * (count - sizes))
    share = share / share.sum()
    found = size.bincount(minlength=count + 1)[1:count].double()
    noise = (share.square() * (1 - found / coalitions_of_size(count)[1:count]) / found).sum()
    if not noise * ENOUGH * count <= 1:
        return None
    return functional.pad(share / found, (1, 1))[size]


def _ends(present: Tensor, outputs: Tensor, base: Tensor | None) -> tuple[Tensor, Tensor] | None:
    """Outputs where no part is there and where all are, each ``(K, C)`` float64; or None where one lacks."""
    whole, empty = present.all(1).nonzero()[:1, 0], (~present.any(1)).nonzero()[:1, 0]
    if not len(whole) or (base is None and not len(empty)):
        return None
    low = outputs[:, int(empty)] if base is None else base
    return low.cpu().double(), outputs[:, int(whole)].cpu().double()


def _applied(matrix: Tensor, outputs: Tensor) -> Tensor:
    """A matrix ``(M, n)`` on outputs ``(K, n, C)``: ``(K, C, M)`` float64."""
    return (matrix @ outputs.cpu().double()).mT
