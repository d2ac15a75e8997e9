"""What is known of one step of the user's module."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from lightning_posttrain.core.capture.batch_parts import Path
from lightning_posttrain.core.capture.leaves import leaves
from lightning_posttrain.core.capture.memory import Memory
from lightning_posttrain.core.capture.tap import Firing, inside_step, outermost
from lightning_posttrain.core.capture.witness import Pair


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
        parts: the tensors of the batch, as the loader gave it.
        pairs: what the witness heard; None where it did not listen.
        notes: what was worked out of it, for all that look at the same step.
        before: copies of ``parts`` from before the step, where somebody asks the module again.
    """

    outputs: Any
    batch: Any
    inputs: Any
    target: Any
    shape: torch.Size
    firings: list[Firing]
    forward: Callable[[], tuple[Any, list[Firing]]]
    wrapped: bool = False
    parts: Mapping[Path, Tensor] = field(default_factory=dict)
    pairs: list[Pair] | None = None
    notes: dict[str, Any] = field(default_factory=dict)
    before: Mapping[Path, Tensor] = field(default_factory=dict)

    @cached_property
    def called(self) -> list[Firing]:
        """What was heard of the modules that the step itself called."""
        return outermost(self.inside)

    @cached_property
    def called_by_forward(self) -> list[Firing]:
        """What was heard of the modules that the module's forward called, where it gave no more than a loss.

        Where it gave another tensor, that is its prediction, and what is inside are features.
        """
        if any(_predicts(firing.output) for firing in self.inside if not firing.name):
            return []
        return outermost([firing for firing in self.inside if firing.name])

    @property
    def inside(self) -> list[Firing]:
        """What was heard of modules inside the step, without the call that is the step."""
        return inside_step(self.firings, wrapped=self.wrapped)

    @property
    def went_past_forward(self) -> bool:
        """Whether the step called parts of the module and not the module."""
        return all(firing.name for firing in self.called)


def _predicts(output: Any) -> bool:
    """Whether the output of a call holds more than a loss; the tap keeps None of a tensor that is too wide."""
    return output is None or isinstance(output, Memory) or any(tensor.numel() > 1 for _, tensor in leaves(output, ()))


def same(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors have the same shape and, but for rounding, the same values."""
    return a.shape == b.shape and torch.allclose(a.float(), b.float(), rtol=1e-4, atol=1e-5, equal_nan=True)
