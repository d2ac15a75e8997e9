"""One batch of an evaluation, in one form whatever the user's step and loader gave.

Class scores become logits of shape ``(N, C)`` here and nowhere else. What a tensor means is said by the
caller (``task``, ``scores``); its shape is checked, its values are never used to guess.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor

Task = Literal["multiclass", "binary"]
ScoreKind = Literal["logits", "probabilities"]

INPUT_KEYS = ("inputs", "input", "x", "images", "image", "img", "pixel_values", "features", "data")
TARGET_KEYS = ("targets", "target", "labels", "label", "y", "classes", "class")


@dataclass(frozen=True, eq=False)
class EvalBatch:
    """What one batch of validation or test amounts to; every metric reads this and nothing else.

    Args:
        scores: logits ``(N, C)``, at least float32; for a binary task ``C`` is 2.
        target: class index ``(N,)``, int64.
        valid: ``(N,)`` bool, False for rows that a distributed sampler repeated, or that are to be ignored.
        index: position in the dataset ``(N,)``, or None where the sampler does not tell.
        inputs: what the network was given, as the batch holds it.

    Example:
        >>> batch = EvalBatch(scores=torch.tensor([[2.0, 1.0], [0.0, float("nan")]]), target=torch.tensor([0, 1]))
        >>> batch.predicted.tolist(), batch.counted.tolist()
        ([0, 1], [True, False])
    """

    scores: Tensor
    target: Tensor
    valid: Tensor | None = None
    index: Tensor | None = None
    inputs: Any = None

    @property
    def num_classes(self) -> int:
        """``C``, the number of columns of ``scores``."""
        return self.scores.shape[1]

    @cached_property
    def _top(self) -> tuple[Tensor, Tensor]:
        maximum, position = self.scores.max(dim=1)
        return maximum, position

    @property
    def predicted(self) -> Tensor:
        """Predicted class ``(N,)``: the first of the largest scores. Meaningless where not ``finite``."""
        return self._top[1]

    @cached_property
    def finite(self) -> Tensor:
        """``(N,)`` bool, False where the largest score is NaN or infinite.

        A ``-inf`` beside finite scores is a class ruled out, and fine.
        """
        return torch.isfinite(self._top[0])

    @cached_property
    def in_range(self) -> Tensor:
        """``(N,)`` bool, False where ``target`` is not a class of ``scores``."""
        return (self.target >= 0) & (self.target < self.num_classes)

    @cached_property
    def real(self) -> Tensor:
        """``valid``, all True where it is None."""
        return torch.ones_like(self.target, dtype=torch.bool) if self.valid is None else self.valid

    @cached_property
    def counted(self) -> Tensor:
        """``(N,)`` bool, True for the rows that enter a figure."""
        return self.real & self.finite & self.in_range

    @cached_property
    def log_probabilities(self) -> Tensor:
        """Log-probabilities ``(N, C)``."""
        return self.scores.log_softmax(dim=1)

    @cached_property
    def probabilities(self) -> Tensor:
        """Probabilities ``(N, C)``; rows sum to one."""
        return self.scores.softmax(dim=1)


def fits(scores: Tensor, rows: int, task: Task) -> bool:
    """Whether ``scores`` has a shape that class scores of ``rows`` targets can have under ``task``."""
    if not scores.is_floating_point() or scores.ndim == 0 or scores.shape[0] != rows:
        return False
    if task == "binary":
        return scores.ndim == 1 or (scores.ndim == 2 and scores.shape[1] in (1, 2))
    return scores.ndim == 2 and scores.shape[1] >= 2


def count_classes(scores: Tensor, task: Task) -> int:
    """Number of classes that ``scores``, of a shape that ``fits``, speaks of."""
    return 2 if task == "binary" else scores.shape[1]


def to_logits(scores: Tensor, task: Task, kind: ScoreKind) -> Tensor:
    """Bring scores of any allowed shape and kind to logits ``(N, C)``.

    One binary logit ``z`` becomes ``(-z/2, z/2)``, whose softmax is ``(1 - sigmoid(z), sigmoid(z))``, and whose
    gradients speak for either class.

    Example:
        >>> to_logits(torch.tensor([0.5, 0.75]), "binary", "probabilities").softmax(1).float()
        tensor([[0.5000, 0.5000],
                [0.2500, 0.7500]])
    """
    if kind == "probabilities" and scores.device.type != "mps":
        scores = scores.double()  # the logarithm of float32 makes ties of what were none
    elif scores.dtype in (torch.float16, torch.bfloat16):
        scores = scores.float()
    single = task == "binary" and (scores.ndim == 1 or scores.shape[1] == 1)
    if not single:
        return scores.log() if kind == "probabilities" else scores
    column = scores.reshape(-1)
    if kind == "probabilities":
        return torch.stack([torch.log1p(-column), column.log()], dim=1)
    return torch.stack([-column / 2, column / 2], dim=1)


def to_target(target: Any, task: Task) -> Tensor:
    """Bring targets to class indices ``(N,)``, int64.

    Raises:
        ValueError: ``target`` is no tensor, has another shape, or holds floats for a multiclass task.
    """
    if not isinstance(target, Tensor):
        raise ValueError(f"`target` is a {type(target).__name__}, wanted a tensor (N,). {_TARGET_CURE}")
    if target.ndim == 2 and target.shape[1] == 1:
        target = target[:, 0]
    if target.ndim != 1:
        shape = tuple(target.shape)
        raise ValueError(f"`target` has shape {shape}, wanted class indices of shape (N,). {_TARGET_CURE}")
    if target.is_floating_point() and task != "binary":
        raise ValueError(f"`target` is {target.dtype}, wanted integer class indices. {_TARGET_CURE}")
    indices: Tensor = target.long()
    return indices


_TARGET_CURE = (
    "Pass target_fn=lambda batch: ... that returns class indices, for one-hot labels "
    "target_fn=lambda batch: batch[1].argmax(1). Several labels for a row are not supported."
)


def find_target(batch: Any, target_fn: Callable[[Any], Any] | None) -> Any:
    """The targets of a batch: ``target_fn(batch)``, the second of a tuple, or a dict's usual key.

    Raises:
        ValueError: none of these is there, or more than one thing could be meant.
    """
    if target_fn is not None:
        return target_fn(batch)
    others = _rivals(batch)
    if others:
        raise ValueError(f"targets could be {' or '.join(others)} of a batch. Pass target_fn=lambda batch: ...")
    found = _part(batch, TARGET_KEYS, 1)
    if found is None:
        raise ValueError(
            f"no targets found in a batch that is {describe(batch)}; wanted (inputs, target) or a dict with one "
            f"of {', '.join(TARGET_KEYS)}. Pass target_fn=lambda batch: ..."
        )
    return found


def find_inputs(batch: Any, inputs_fn: Callable[[Any], Any] | None) -> Any:
    """The inputs of a batch, found like its targets; None where nothing says which they are."""
    return inputs_fn(batch) if inputs_fn is not None else _part(batch, INPUT_KEYS, 0)


def _part(batch: Any, keys: Sequence[str], position: int) -> Any:
    if isinstance(batch, Mapping):
        return next((batch[key] for key in keys if key in batch), None)
    if isinstance(batch, (tuple, list)) and len(batch) >= 2:
        return batch[position]
    return None


def _rivals(batch: Any) -> list[str]:
    """What could be the targets, where that is more than one thing."""
    if isinstance(batch, Mapping):
        found = {repr(key): batch[key] for key in TARGET_KEYS if isinstance(batch.get(key), Tensor)}
    elif isinstance(batch, (tuple, list)) and len(batch) > 2:
        found = {f"position {i}": part for i, part in enumerate(batch) if i and _indices(part)}
    else:
        return []
    return list(found) if len({id(part) for part in found.values()}) > 1 else []


def _indices(value: Any) -> bool:
    return isinstance(value, Tensor) and value.ndim == 1 and value.dtype in (torch.int64, torch.int32)


def describe(value: Any) -> str:
    """A value in the words of an error message: shapes for tensors, keys for dicts."""
    if isinstance(value, Tensor):
        return f"a tensor {tuple(value.shape)}"
    if isinstance(value, Mapping):
        return f"a dict with keys {', '.join(map(str, value))}"
    if isinstance(value, (tuple, list)):
        return f"a {type(value).__name__} of {len(value)}"
    return "None" if value is None else f"a {type(value).__name__}"
