"""What every calibrator offers."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar, TypeAlias

import torch
from torch import Tensor, nn

from lightning_posttrain.classification import TASKS, Task

Number: TypeAlias = "Tensor | float"


class Calibrator(nn.Module):
    """What every calibrator offers: logits in, logits of the same shape and type out.

    Multiclass logits are ``(N, C, ...)``; those of labels ``(N, L, ...)`` are log-odds. Those of a binary task are one
    for each row, ``(N,)`` or ``(N, 1, ...)``, or one for each class ``(N, 2, ...)``, which become ``[0, margin]``.

    Args:
        task: ``"multiclass"``, ``"binary"`` or ``"multilabel"``.

    Raises:
        ValueError: the method has no such task.
    """

    method: ClassVar[str]
    tasks: ClassVar[tuple[Task, ...]] = TASKS
    values: ClassVar[tuple[str, ...]] = ()

    def __init__(self, task: Task) -> None:
        super().__init__()
        if task not in self.tasks:
            raise ValueError(
                f"`task` is {task!r}, wanted {' or '.join(map(repr, self.tasks))} for method {self.method!r}. "
                "Method 'temperature' takes every task."
            )
        self.task: Task = task

    def forward(self, logits: Tensor) -> Tensor:
        """The calibrated logits."""
        columns = logits.unbind(1) if self.task == "binary" and logits.ndim >= 2 else ()
        if len(columns) == 2:  # a trace would warn of a size that is compared
            margin = self.adjust(columns[1] - columns[0])
            certain = margin == torch.inf  # no softmax has a value where a logit is infinite
            sides = torch.zeros_like(margin).masked_fill(certain, -torch.inf), margin.masked_fill(certain, 0.0)
            return torch.stack(sides, dim=1).to(logits.dtype)
        return self.adjust(logits).to(logits.dtype)

    @abstractmethod
    def adjust(self, scores: Tensor) -> Tensor:
        """Calibrate logits, or margins of a binary task."""

    @abstractmethod
    def describe(self) -> str:
        """What it does, in a sentence without a full stop, as ``"temperature 1.83: the network is too sure"``."""

    def numbers(self) -> dict[str, float]:
        """What it has learned, by name, where that is one number each."""
        found = {name: getattr(self, name) for name in self.values}
        return {name: float(value) for name, value in found.items() if value.numel() == 1}

    @property
    def columns(self) -> int | None:
        """How many classes or labels it has numbers of their own for; None where it takes any number."""
        return None

    def to_state(self) -> dict[str, Any]:
        """Plain values and tensors on the CPU, which ``torch.load(weights_only=True)`` takes; for ``from_state``."""
        learned = {name: getattr(self, name).detach().cpu().clone() for name in self.values}
        return {"method": self.method, "task": self.task, **learned}

    def _learn(self, **learned: Number) -> None:
        """Keep what was learned, in float32, which every device has."""
        with torch.inference_mode(False):  # a fit may run in validation; what it finds may be trained behind
            for name, value in learned.items():
                self.register_buffer(name, torch.as_tensor(value).detach().to(torch.float32, copy=True))
