"""Bootstrap and weighted resamples of training rows, told by the seed and a member's number."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from lightning_posttrain.core.runs.isolation import seed_of

BOOTSTRAP, WEIGHTED, JUDGED = 1, 2, 3
"""Purposes of seeds; 0 is the fit."""


def bootstrap(rows: int, *, seed: int, member: int) -> Tensor:
    """Positions ``(R,)`` of as many rows, drawn with replacement (Efron, 1979, doi:10.1214/aos/1176344552).

    Example:
        >>> bootstrap(1000, seed=0, member=1).unique().numel() / 1000
        0.626
    """
    generator = np.random.default_rng(seed_of(seed, member, BOOTSTRAP))
    return torch.from_numpy(generator.integers(rows, size=rows))


def weighted(weights: Tensor, *, seed: int, member: int) -> Tensor:
    """Positions ``(R,)`` of as many rows as there are weights ``(R,)``, drawn with replacement, each by its weight."""
    generator = np.random.default_rng(seed_of(seed, member, WEIGHTED))
    ends = np.cumsum(weights.double().numpy())
    drawn = np.searchsorted(ends, generator.random(len(ends)) * ends[-1], side="right")
    return torch.from_numpy(drawn.clip(max=len(ends) - 1))


def out_of_bag(drawn: Tensor, rows: int) -> Tensor:
    """Positions of rows that were not drawn, in order; of a bootstrap about 36.8 % of all.

    Example:
        >>> out_of_bag(torch.tensor([0, 3, 3]), rows=5).tolist()
        [1, 2, 4]
    """
    missing = torch.ones(rows, dtype=torch.bool)
    missing[drawn] = False
    return missing.nonzero()[:, 0]


def judged(rows: int, most: int, *, seed: int) -> Tensor:
    """Positions, in order, of the rows that figures are of: all, or ``most`` of them at random."""
    if rows <= most:
        return torch.arange(rows)
    generator = np.random.default_rng(seed_of(seed, 0, JUDGED))
    return torch.from_numpy(np.sort(generator.choice(rows, most, replace=False)))
