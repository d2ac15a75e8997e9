"""Calibrators that multiply logits and add to them; what is infinite stays."""

from __future__ import annotations

import math
from typing import final

import torch
from torch import Tensor

from lightning_posttrain.calibration.calibrators.base import Calibrator, Number
from lightning_posttrain.classification import Task

COLDEST, HOTTEST = 0.01, 100.0
"""The lowest and the highest temperature that is tried."""
_NEAR = 0.02


def _affine(scores: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    """``scale * scores + bias`` by column; what is infinite stays."""
    shape = (-1, *(1,) * (scores.ndim - 2)) if scale.ndim else ()
    infinite = scores.isinf()
    moved = scale.reshape(shape) * scores.masked_fill(infinite, 0.0) + bias.reshape(shape)
    return torch.where(infinite, scores, moved)


@final
class Identity(Calibrator):
    """Leaves logits as they are.

    Example:
        >>> Identity("multiclass")(torch.tensor([[1.0, 2.0, 3.0]])).tolist()
        [[1.0, 2.0, 3.0]]
    """

    method = "none"

    def forward(self, logits: Tensor) -> Tensor:
        """The logits."""
        return logits

    def adjust(self, scores: Tensor) -> Tensor:
        """The scores."""
        return scores

    def describe(self) -> str:
        """That nothing is done."""
        return "no adjustment"


@final
class TemperatureScaling(Calibrator):
    """Divides logits by one number, which changes no prediction (Guo et al., 2017, arXiv:1706.04599).

    Args:
        temperature: above 1 for a network that is too sure.
        task: any.

    Example:
        >>> TemperatureScaling(2.0, "multiclass")(torch.tensor([[1.0, 2.0, 3.0]])).tolist()
        [[0.5, 1.0, 1.5]]
    """

    method = "temperature"
    values = ("temperature",)
    temperature: Tensor

    def __init__(self, temperature: Number, task: Task) -> None:
        super().__init__(task)
        if not 0 < float(temperature) < math.inf:
            raise ValueError(f"`temperature` is {float(temperature)}, wanted above 0. 1 changes nothing.")
        self._learn(temperature=temperature)

    def adjust(self, scores: Tensor) -> Tensor:
        """Divide by the temperature."""
        return scores / self.temperature

    def describe(self) -> str:
        """Whether the network is too sure, and whether the temperature is as far as it goes."""
        found = float(self.temperature)
        if found >= HOTTEST * 0.999:
            return f"temperature {found:.2f}, the highest that is tried: the network is far too sure of itself"
        if found <= COLDEST * 1.001:
            return f"temperature {found:.2f}, the lowest that is tried: the network may be far surer than it is"
        return f"temperature {found:.2f}: {sureness(1 / found)}"


def sureness(factor: float) -> str:
    """What it says of a network that its logits must be multiplied by ``factor``."""
    if abs(math.log(factor)) < _NEAR:
        return "the network is about as sure as it may be"
    return "the network is too sure of itself" if factor < 1 else "the network is not sure enough"


@final
class VectorScaling(Calibrator):
    """Gives the logit of each class a scale and a bias of its own (Guo et al., 2017, arXiv:1706.04599).

    Args:
        scale: ``(C,)``.
        bias: ``(C,)``.
        task: ``"multiclass"``.
    """

    method = "vector"
    tasks = ("multiclass",)
    values = ("scale", "bias")
    scale: Tensor
    bias: Tensor

    def __init__(self, scale: Tensor, bias: Tensor, task: Task) -> None:
        super().__init__(task)
        if scale.ndim != 1 or scale.shape != bias.shape:
            raise ValueError(
                f"`scale` has shape {tuple(scale.shape)} and `bias` {tuple(bias.shape)}, wanted both (C,), one for "
                "each class."
            )
        self._learn(scale=scale, bias=bias)

    @property
    def columns(self) -> int:
        """``C``."""
        return len(self.scale)

    def adjust(self, scores: Tensor) -> Tensor:
        """Scale and shift each class."""
        return _affine(scores, self.scale, self.bias)

    def describe(self) -> str:
        """The ranges, and whether the network is too sure on the whole."""
        scale, bias = self.scale, self.bias
        mean = float(scale.mean())
        said = f": {sureness(mean)}, on the whole" if mean > 0 else ""
        return f"scales {_range(scale)} and biases {_range(bias)} by class{said}"


def _range(values: Tensor) -> str:
    return f"{float(values.min()):.2f} to {float(values.max()):.2f}"


@final
class PlattScaling(Calibrator):
    """Gives the margin of a binary task, or the log-odds of each label, a slope and a bias (Platt, 1999).

    Args:
        slope: a number, or ``(L,)``.
        bias: a number, or ``(L,)``.
        task: ``"binary"`` or ``"multilabel"``.

    Example:
        >>> PlattScaling(0.5, 1.0, "binary")(torch.tensor([[0.0, 2.0], [1.0, 0.0]])).tolist()
        [[0.0, 2.0], [0.0, 0.5]]
    """

    method = "platt"
    tasks = ("binary", "multilabel")
    values = ("slope", "bias")
    slope: Tensor
    bias: Tensor

    def __init__(self, slope: Number, bias: Number, task: Task) -> None:
        super().__init__(task)
        shapes = torch.as_tensor(slope).shape, torch.as_tensor(bias).shape
        if shapes[0] != shapes[1] or len(shapes[0]) != (task == "multilabel"):
            wanted = "(L,), one for each label" if task == "multilabel" else "(), a number"
            raise ValueError(f"`slope` has shape {tuple(shapes[0])}, `bias` {tuple(shapes[1])}, wanted both {wanted}.")
        self._learn(slope=slope, bias=bias)

    @property
    def columns(self) -> int | None:
        """``L`` for several labels."""
        return len(self.slope) if self.slope.ndim else None

    def adjust(self, scores: Tensor) -> Tensor:
        """Scale and shift."""
        return _affine(scores, self.slope, self.bias)

    def describe(self) -> str:
        """Slope and bias, and what they say of the network."""
        if self.slope.ndim:
            return f"slopes {_range(self.slope)} and biases {_range(self.bias)} by label"
        slope, bias = float(self.slope), float(self.bias)
        if slope <= 0:
            return f"slope {slope:.2f}, bias {bias:+.2f}: larger scores do not make class 1 more likely"
        aim = "" if abs(bias) < _NEAR else f", and gives class 1 too {'little' if bias > 0 else 'much'}"
        return f"slope {slope:.2f}, bias {bias:+.2f}: {sureness(slope)}{aim}"
