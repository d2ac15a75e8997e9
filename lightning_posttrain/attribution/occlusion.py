"""Occlusion: what the output loses where a window of the input is hidden."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import final

import torch
from torch import Tensor

from lightning_posttrain.attribution.methods import Method
from lightning_posttrain.attribution.problem import Problem


@final
@dataclass(frozen=True)
class Occlusion(Method):
    """Hide a window behind the baseline and see what is lost (Zeiler and Fergus, 2013, arXiv:1311.2901).

    A place gets the mean over the windows that cover it, each one's loss shared by the positions in it.

    Args:
        window: side of the window in positions. Default: an eighth of each side, 1 for tabular rows and tokens.
        stride: positions from one window to the next. Default: half a window.
    """

    window: int | None = None
    stride: int | None = None
    name, title, valid, by_row = "occlusion", "Occlusion", "any model, one forward for each window", True

    def attribute(self, problem: Problem) -> Tensor:
        """Maps ``(K, *spatial)``."""
        windows = problem.beside(self._windows(problem.spatial))
        count = len(problem)

        def rows(numbers: Tensor) -> tuple[Tensor, Tensor]:
            window, which = numbers // count, numbers % count
            # the first "window" hides nothing
            hidden = torch.cat([torch.zeros_like(windows[:1]), windows])[window]
            hidden = hidden if problem.channel_dim is None else hidden.unsqueeze(problem.channel_dim)
            return torch.where(hidden, problem.baseline[which], problem.inputs[which]), which

        values = problem.values(rows, (len(windows) + 1) * count).view(len(windows) + 1, count)
        lost = (values[:1] - values[1:]).T.to(torch.float32)
        covered = windows.flatten(1).to(lost)
        maps = lost @ (covered / covered.sum(1, keepdim=True)) / covered.sum(0)
        return maps.view(count, *problem.spatial)

    def _windows(self, spatial: tuple[int, ...]) -> Tensor:
        """Every window as a mask ``(W, *spatial)``; the last ones end where the input does."""
        sides = [self.window or (max(1, n // 8) if len(spatial) > 1 or n > 64 else 1) for n in spatial]
        starts = [
            _starts(n, min(side, n), self.stride or max(1, side // 2)) for n, side in zip(spatial, sides, strict=True)
        ]
        masks = []
        for corner in product(*starts):
            mask = torch.zeros(spatial, dtype=torch.bool)
            mask[tuple(slice(first, first + side) for first, side in zip(corner, sides, strict=True))] = True
            masks.append(mask)
        return torch.stack(masks)


def _starts(length: int, side: int, stride: int) -> list[int]:
    regular = list(range(0, length - side + 1, stride))
    return regular if regular[-1] == length - side else [*regular, length - side]
