"""What in a step could be the class scores, and what to say where that is not clear."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_posttrain.classification.tasks import Task
from lightning_posttrain.core.capture.step import same


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


def warn_of_second_forward() -> None:
    """Say that the module is run once more on every batch, and how to save that."""
    warnings.warn(
        "lightning_posttrain saw no class scores in the step and runs the module a second time on every "
        "batch. The figures are those of module(inputs), whatever else the step does. To have the step's own, "
        f'and to save the time, return {{"logits": logits}} from it. {CURE}',
        stacklevel=2,
    )
