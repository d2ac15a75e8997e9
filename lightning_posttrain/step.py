"""What is known of one step of the user's module, and what in it could be the class scores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from lightning_posttrain.tap import Firing, outermost
from lightning_posttrain.tasks import Task


@dataclass(frozen=True, eq=False)
class Candidate:
    """A tensor that could be the class scores.

    Args:
        module: dotted name of the module that gave it, "" for the LightningModule.
        path: where in the module's output it stands, as ``"['logits']"``.
        tensor: the tensor.
        remark: what else there is to say of where it comes from.
    """

    module: str
    path: str
    tensor: Tensor
    remark: str = ""

    @property
    def origin(self) -> str:
        """Where it comes from, in words."""
        return f"`{self.module or 'forward'}`{self.path}{self.remark}"


@dataclass(frozen=True, eq=False)
class Step:
    """What is known of one step.

    Args:
        outputs: what it returned.
        batch: the batch, as the step left it.
        inputs: the inputs, as the loader gave them.
        target: the targets, as the loader gave them.
        shape: that of the targets as they are read.
        firings: what the tap heard.
        forward: runs the module once more on the inputs; its output, and what the tap heard.
        wrapped: whether the step runs inside the module's ``__call__``, as under DDP, whose hook then is the last.
    """

    outputs: Any
    batch: Any
    inputs: Any
    target: Tensor
    shape: torch.Size
    firings: list[Firing]
    forward: Callable[[], tuple[Any, list[Firing]]]
    wrapped: bool = False

    @cached_property
    def called(self) -> list[Firing]:
        """What was heard of the modules that the step itself called."""
        return outermost(self._inside)

    @cached_property
    def called_by_forward(self) -> list[Firing]:
        """What was heard of the modules that the module's forward called; for a forward that gives a loss."""
        return outermost([firing for firing in self._inside if firing.name])

    @property
    def _inside(self) -> list[Firing]:
        return self.firings[:-1] if self.wrapped and self.firings and self.firings[-1].name == "" else self.firings

    @property
    def went_past_forward(self) -> bool:
        """Whether the step called parts of the module and not the module."""
        return all(firing.name for firing in self.called)


def unsqueezed(tensor: Tensor) -> Tensor:
    """A tensor with at least one dimension."""
    return tensor[None] if tensor.ndim == 0 else tensor


def is_squashed(scores: Tensor, logits: Tensor, task: Task) -> bool:
    """Whether scores are the softmax or sigmoid of logits."""
    if scores.numel() != logits.numel():
        return False
    single = task == "multilabel" or logits.ndim == 1 or logits.shape[1] == 1
    return same(scores.reshape(logits.shape).to(logits.device), logits.sigmoid() if single else logits.softmax(1))


def is_hard(scores: Tensor) -> bool:
    """Whether scores are no more than classes: whole numbers from -1 to 1."""
    return scores.numel() > 0 and bool(((scores == scores.round()) & (scores.abs() <= 1)).all())


def is_of(argument: Any, tensor: Tensor) -> bool:
    """Whether an argument is a tensor, or the same numbers in another shape."""
    if argument is tensor:
        return True
    return (
        isinstance(argument, Tensor)
        and argument.layout == tensor.layout == torch.strided
        and argument.numel() == tensor.numel() > 0
        and argument.data_ptr() == tensor.data_ptr() != 0
    )


def same(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors have the same shape and, but for rounding, the same values."""
    return a.shape == b.shape and torch.allclose(a.float(), b.float(), rtol=1e-4, atol=1e-5, equal_nan=True)


CURE = (
    "Otherwise pass scores_fn=lambda outputs, batch: ... to say which tensor holds the class scores, "
    "num_classes=... if that tells them apart, or task='binary' for one score a row."
)


def unclear(found: list[Candidate], target: torch.Size) -> str:
    """That more than one tensor, or a wrong one, could be meant, and what to do."""
    shown = ", ".join(f"{c.origin} {tuple(c.tensor.shape)}" for c in found)
    return (
        f"cannot tell which output holds the class scores of {target[0]} rows: {shown}. "
        f'Return {{"logits": logits}} from the step. {CURE}'
    )
