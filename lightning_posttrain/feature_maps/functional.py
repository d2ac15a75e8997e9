"""What the maps of a layer amount to: energy, dead channels, effective rank, and principal components as colours."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations

import torch
from torch import Tensor


def energy(maps: Tensor) -> Tensor:
    """The root mean square over channels of maps ``(N, C, *grid)``, ``(N, *grid)``.

    Example:
        >>> energy(torch.tensor([[[3.0, 0.0]], [[4.0, 1.0]]])).tolist()
        [[3.0, 0.0], [4.0, 1.0]]
    """
    return maps.float().square().mean(1).sqrt()


@dataclass(frozen=True, eq=False)
class Moments:
    """What the figures of a layer are worked out from; those of two sets of samples add up.

    Args:
        rows: how many samples.
        alive: which channels are anywhere other than 0 ``(C,)``.
        products: sums over samples and positions of products of channels ``(C, C)`` float64.
        sums: over samples ``(C, *grid)`` float64.
        squares: of squares over samples ``(C, *grid)`` float64.
        least: the smallest value.
    """

    rows: int
    alive: Tensor
    products: Tensor
    sums: Tensor
    squares: Tensor
    least: float

    @classmethod
    def of(cls, maps: Tensor) -> Moments:
        """Those of maps ``(N, C, *grid)``, on the CPU."""
        # an accelerator may know no float64
        values = (maps if maps.device.type in ("cpu", "cuda") else maps.cpu()).double()
        by_channel = values.movedim(1, 0).flatten(1)
        products, sums, squares = by_channel @ by_channel.T, values.sum(0), values.square().sum(0)
        alive = (values != 0).movedim(1, 0).flatten(1).any(1)
        return cls(len(maps), alive.cpu(), products.cpu(), sums.cpu(), squares.cpu(), float(values.min()))

    def __add__(self, other: Moments) -> Moments:
        """Those of both sets."""
        parts = ("products", "sums", "squares")
        added = {name: getattr(self, name) + getattr(other, name) for name in parts}
        rows, least = self.rows + other.rows, min(self.least, other.least)
        return Moments(rows, self.alive | other.alive, least=least, **added)

    @property
    def covariance(self) -> Tensor:
        """Of channels, over samples and positions ``(C, C)``."""
        count = self.rows * self.sums[0].numel()
        mean = self.sums.flatten(1).sum(1) / count
        return self.products / count - mean[:, None] * mean


def dead_share(moments: Moments) -> float:
    """The share of channels that are 0 at all positions of all samples, 0 to 1."""
    return 1 - float(moments.alive.double().mean())


def spectrum(covariance: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues ``(C,)``, the largest first and none below 0, and eigenvectors ``(C, C)`` as columns."""
    values, vectors = torch.linalg.eigh(covariance)
    return values.flip(0).clamp(min=0), vectors.flip(1)


def effective_rank(eigenvalues: Tensor) -> float:
    """How many directions the channels take: the exponential of the entropy of normalised eigenvalues, 1 to ``C``.

    Of ``r`` directions that vary alike it is ``r``; 0 where nothing varies. It falls where channels say the same.
    Roy and Vetterli, "The effective rank: a measure of effective dimensionality", EUSIPCO 2007
    (https://ieeexplore.ieee.org/document/7098875), of the covariance matrix.

    Args:
        eigenvalues: of the covariance of channels ``(C,)``.

    Example:
        >>> effective_rank(torch.tensor([2.0, 2.0, 2.0, 0.0], dtype=torch.float64))
        3.0
    """
    values = eigenvalues.double().clamp(min=0)
    if not float(values.sum()):
        return 0.0
    shares = values / values.sum()
    return round(math.exp(float(-torch.xlogy(shares, shares).sum())), 12)


def border_ratio(moments: Moments) -> float:
    """The share of energy at the outermost positions over their share of the area, 1 if these are like any other.

    Example:
        >>> border_ratio(Moments.of(torch.ones(2, 3, 4, 4)))
        1.0
    """
    power = moments.squares.sum(0)
    inner = power[tuple(slice(1, -1) for _ in power.shape)]
    if not float(power.sum()):
        return math.nan
    share = 1 - float(inner.sum() / power.sum())
    return share / (1 - inner.numel() / power.numel())


def varying(moments: Moments, count: int) -> list[int]:
    """Numbers of the channels whose values vary most over samples, at a position, in the mean of all; the most first.

    Of one sample alone, those that vary most over its positions. Of channels that vary alike, the first.
    """
    if moments.rows > 1:
        spread = (moments.squares / moments.rows - (moments.sums / moments.rows).square()).flatten(1).mean(1)
    else:
        spread = moments.covariance.diagonal()
    order = spread.nan_to_num(-1.0).sort(descending=True, stable=True).indices
    return [int(channel) for channel in order[:count]]


def in_their_places(chosen: Sequence[int], before: Sequence[int]) -> list[int]:
    """``chosen``, where each that was there before has its place, and the others, in order, the places left.

    Example:
        >>> in_their_places([7, 1, 2], before=[1, 5, 7])
        [1, 2, 7]
    """
    new = iter([one for one in chosen if one not in before])
    if len(before) != len(chosen):
        return list(chosen)
    return [one if one in chosen else next(new) for one in before]


def principal_scores(maps: Tensor, mean: Tensor, vectors: Tensor) -> Tensor:
    """Scores of maps ``(N, C, *grid)`` on components that are the columns of ``vectors (C, K)``: ``(N, *grid, K)``."""
    return (maps.double().movedim(1, -1) - mean) @ vectors


def aligned(scores: Tensor, before: Tensor) -> tuple[list[int], Tensor]:
    """The order and signs ``(K,)`` in which scores ``(..., K)`` are most like those of another epoch.

    An eigenvector has no sign of its own, and two that explain about as much change places from epoch to epoch. Set by
    what the same samples looked like before, colours tell what was learnt, and do not flip.
    """
    new, old = (part.reshape(-1, part.shape[-1]) for part in (scores, before))
    new, old = new - new.mean(0), old - old.mean(0)
    like = (old.T @ new) / (old.norm(dim=0)[:, None] * new.norm(dim=0)).clamp(min=1e-12)
    count = len(like)
    order = max(permutations(range(count)), key=lambda way: float(like.abs()[range(count), way].sum()))
    signs = torch.where(like[range(count), order] < 0, -1.0, 1.0).to(scores.dtype)
    return list(order), signs


def as_colors(scores: Tensor) -> Tensor:
    """Scores ``(..., K)`` of up to three components as red, green and blue ``(..., 3)`` float32 in 0 to 1.

    Each over the 99th percentile of its magnitudes, 0 being a half; one component alone is grey.
    """
    flat = scores.reshape(-1, scores.shape[-1]).abs()
    scale = torch.quantile(flat, 0.99, dim=0) if len(flat) <= 2**24 else flat.amax(0)
    levels = (0.5 + 0.5 * scores / torch.where(scale > 0, scale, 1.0)).clamp(0, 1).float()
    if levels.shape[-1] == 1:
        return levels.expand(*levels.shape[:-1], 3).clone()
    lacking = 3 - levels.shape[-1]
    return torch.cat([levels, levels.new_full((*levels.shape[:-1], lacking), 0.5)], -1) if lacking else levels
