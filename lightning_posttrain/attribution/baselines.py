"""What stands for "nothing there" in an input."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

Baseline = Literal["mean", "blur"]


def nothing_of(
    inputs: Tensor, dim: int | None, how: float | Baseline | Callable[[Tensor], Tensor], share: float = 1 / 8
) -> Tensor:
    """Inputs ``(K, ...)`` with nothing there, laid out as they are.

    Args:
        inputs: whole numbers, as of bytes, are worked on as floats and rounded.
        dim: the dimension of the channels, or None.
        how: a number, ``"mean"`` of each channel over places (of each feature over rows where there is one place only),
            ``"blur"``, or a function of the inputs.
        share: of each side that a blur is a mean over.
    """
    if callable(how):
        return how(inputs).to(inputs).expand_as(inputs)
    if not isinstance(how, str):
        return torch.full_like(inputs, float(how))
    if not inputs.is_floating_point():
        return nothing_of(inputs.float(), dim, how, share).round().to(inputs)
    return _mean(inputs, dim).expand_as(inputs) if how == "mean" else blurry(inputs, dim, share)


def _mean(inputs: Tensor, dim: int | None) -> Tensor:
    dims = [d for d in range(1, inputs.ndim) if d != dim]
    return inputs.mean(dims, keepdim=True) if len(dims) > 1 or dim is not None else inputs.mean(0, keepdim=True)


def blurry(inputs: Tensor, dim: int | None, share: float = 1 / 8) -> Tensor:
    """Inputs without detail: a mean over a share of each side, laid out as they are."""
    sides = inputs.ndim - (1 if dim is None else 2)
    if sides not in (1, 2):
        return inputs
    maps = inputs.unsqueeze(1) if dim is None else inputs.movedim(dim, 1)
    halves = [min(max(1, int(n * share / 2)), n - 1) for n in maps.shape[2:]]
    around = [half for half in reversed(halves) for _ in range(2)]
    pool: Any = F.avg_pool2d if sides == 2 else F.avg_pool1d
    smooth: Tensor = pool(F.pad(maps, around, mode="reflect"), [2 * half + 1 for half in halves], stride=1)
    return smooth.squeeze(1) if dim is None else smooth.movedim(1, dim)
