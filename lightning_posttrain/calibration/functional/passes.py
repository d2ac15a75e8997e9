"""Rows of scores, some at a time."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

CACHED = 1 << 17
"""Scores that a processor's cache holds with what is made of them."""
LAUNCHED = 1 << 22
"""Scores that are many beside the time in which a GPU is told what to do with them; 32 MiB in float64."""


def split(scores: Tensor) -> tuple[Tensor, ...]:
    """Scores ``(N, C)`` in pieces for one pass each, one at least.

    Example:
        >>> [len(piece) for piece in split(torch.zeros(300, 1000))]
        [131, 131, 38]
    """
    most = CACHED if scores.device.type == "cpu" else LAUNCHED
    return torch.split(scores, max(1, most // max(scores.shape[1], 1)))


def split_both(scores: Tensor, target: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """The same with the targets of each piece."""
    pieces = split(scores)
    return zip(pieces, torch.split(target, [len(piece) for piece in pieces]), strict=True)
