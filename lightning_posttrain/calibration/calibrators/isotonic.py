"""Isotonic calibration: any rising line from the margin to the probability."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from lightning_posttrain.calibration.calibrators.base import Calibrator
from lightning_posttrain.classification import Task

LEAST = 2.0**-23
"""The smallest probability that is given, 1.2e-7: float32 still tells 1 minus this from 1."""


@final
class IsotonicCalibration(Calibrator):
    """Gives a margin the probability on a rising line through points.

    (Zadrozny and Elkan, 2002, doi:10.1145/775047.775151.)
    The points lie over margins, not over probabilities: of a network that is very sure, these are all 1 in float32.
    Between two points the probability is on the straight line, beyond the outermost it is theirs.

    Args:
        x: margins ``(K,)``, rising.
        y: probabilities of class 1 at these ``(K,)``, never falling; brought into 1.2e-7 to 1 - 1.2e-7.
        task: ``"binary"``.

    Raises:
        ValueError: shapes that differ, or points that do not rise.

    Example:
        >>> calibrator = IsotonicCalibration(torch.tensor([-2.0, 2.0]), torch.tensor([0.25, 0.75]), "binary")
        >>> calibrator(torch.tensor([-9.0, 0.0, 1.0])).sigmoid()
        tensor([0.2500, 0.5000, 0.6250])
    """

    method = "isotonic"
    tasks = ("binary",)
    values = ("x", "y")
    x: Tensor
    y: Tensor

    def __init__(self, x: Tensor, y: Tensor, task: Task) -> None:
        super().__init__(task)
        if x.ndim != 1 or x.shape != y.shape or len(x) == 0:
            raise ValueError(f"`x` has shape {tuple(x.shape)} and `y` {tuple(y.shape)}, wanted both (K,).")
        if not bool((x.diff() >= 0).all() & (y.diff() >= 0).all() & x.isfinite().all()):
            raise ValueError("`x` and `y` fall somewhere or are not finite, wanted both to rise. Sort them by `x`.")
        self._last = len(x) - 1
        self._learn(x=x, y=y.double().clamp(LEAST, 1 - LEAST))

    def adjust(self, scores: Tensor) -> Tensor:
        """The log-odds of the probability on the line."""
        wide = torch.promote_types(scores.dtype, torch.float32)
        x, y = self.x.to(wide), self.y.to(wide).clamp(LEAST, 1 - LEAST)
        margin = torch.minimum(torch.maximum(scores.to(wide), x[0]), x[-1]).contiguous()
        upper = _points_below(x, margin.detach()).clamp(max=self._last)
        lower = (upper - 1).clamp(min=0)
        span = (x[upper] - x[lower]).clamp(min=torch.finfo(wide).tiny)
        chance = y[lower] + (margin - x[lower]) / span * (y[upper] - y[lower])
        return torch.where(scores.isinf(), scores, chance.log() - torch.log1p(-chance))

    def describe(self) -> str:
        """How many points, and the range of probabilities."""
        ends = f"{float(self.y[0]):.3f} to {float(self.y[-1]):.3f}"
        return f"a rising line through {len(self.x)} points gives probabilities of {ends}"


def _points_below(x: Tensor, margin: Tensor) -> Tensor:
    """How many points lie below each margin."""
    if torch.compiler.is_compiling():  # ONNX has no search
        return (margin[..., None] > x).sum(-1)
    return torch.searchsorted(x, margin)
