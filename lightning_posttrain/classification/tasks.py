"""What scores and targets of each task look like, and how they become logits and class indices.

What a tensor means is said by the caller (``task``, ``scores``); its shape is checked, its values are never used
to guess. Targets with further dimensions, as of a segmentation, are rows of their own: scores have the classes in
their second dimension, as ``torch.nn.CrossEntropyLoss`` wants them.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

Task = Literal["multiclass", "binary", "multilabel"]
ScoreKind = Literal["logits", "probabilities"]

NO_CLASS = -(2**31)
TASKS: tuple[Task, ...] = ("multiclass", "binary", "multilabel")


def fits(scores: Tensor, target: torch.Size, task: Task) -> bool:
    """Whether ``scores`` has a shape that class scores for targets of a shape can have under ``task``.

    Example:
        >>> fits(torch.zeros(2, 5, 8, 8), torch.Size([2, 8, 8]), "multiclass")
        True
    """
    shape = scores.shape
    if not scores.is_floating_point() or scores.ndim == 0:
        return False
    if task == "multilabel":
        return shape == target
    single = len(target) == 1 and shape[:1] == target and shape[2:].numel() == 1  # a sequence of one position
    between = scores.ndim >= 2 and (shape[:1] + shape[2:] == target or single)
    if task == "binary":
        return shape == target or (between and shape[1] in (1, 2))
    return between and shape[1] >= 2


def wanted_shape(target: torch.Size, task: Task, num_classes: int | None) -> str:
    """The shapes that ``fits`` takes, in words."""
    first, *rest = map(str, target)
    if task == "multilabel":
        return f"({', '.join([first, *rest])})"
    if task == "binary":
        single = ", ".join([first, *rest]) + ("" if rest else ",")
        return f"({single}), ({', '.join([first, '1', *rest])}) or ({', '.join([first, '2', *rest])})"
    return f"({', '.join([first, 'C' if num_classes is None else str(num_classes), *rest])})"


def labels_hint(target: torch.Size, task: Task) -> str:
    """A word on targets that are one-hot or several labels rather than a class for each position."""
    if len(target) != 2 or task != "multiclass":
        return ""
    return f"`target` has shape {tuple(target)}, a class for each position. {LABELS_CURE} Else: "


def count_classes(scores: Tensor, task: Task) -> int:
    """Number of classes, or labels, that ``scores``, of a shape that ``fits``, speaks of."""
    return 2 if task == "binary" else scores.shape[1]


def to_logits(scores: Tensor, task: Task, kind: ScoreKind, target: torch.Size | None = None) -> Tensor:
    """Bring scores of any allowed shape and kind to logits ``(N, C, ...)``, for targets of a shape.

    One binary logit ``z`` becomes ``(-z/2, z/2)``, whose softmax is ``(1 - sigmoid(z), sigmoid(z))``, and which differ
    by ``z``, what is explained of a network with one logit. A multilabel logit is the log-odds of its label.

    Example:
        >>> to_logits(torch.tensor([0.5, 0.75]), "binary", "probabilities").softmax(1).float()
        tensor([[0.5000, 0.5000],
                [0.2500, 0.7500]])
    """
    if kind == "probabilities" and scores.device.type != "mps":
        scores = scores.double()  # the logarithm of float32 makes ties of what were none
    elif scores.dtype in (torch.float16, torch.bfloat16):
        scores = scores.float()
    if task == "multilabel":
        return scores.log() - torch.log1p(-scores) if kind == "probabilities" else scores
    if not is_single(scores, task, target):
        return scores.log() if kind == "probabilities" else scores
    column = scores[:, 0] if scores.ndim >= 2 and scores.shape[1] == 1 and scores.shape != target else scores
    if kind == "probabilities":
        return torch.stack([torch.log1p(-column), column.log()], dim=1)
    return torch.stack([-column / 2, column / 2], dim=1)


def is_single(scores: Tensor, task: Task, target: torch.Size | None) -> bool:
    """Whether scores as a network gave them, for targets of a shape, hold one for the two classes of a binary task."""
    return task == "binary" and not (scores.ndim >= 2 and scores.shape[1] == 2 and scores.shape != target)


def predictions(logits: Tensor, task: Task) -> Tensor:
    """Predicted classes ``(N, ...)``, for multilabel whether each label is there."""
    return logits > 0 if task == "multilabel" else logits.argmax(dim=1)


def to_target(target: Any, task: Task) -> Tensor:
    """Bring targets to int64: class indices ``(N, ...)``, for multilabel 0 or 1 for each label ``(N, L, ...)``.

    Raises:
        ValueError: ``target`` is no tensor, has too few dimensions, or holds floats for a multiclass task.
    """
    if not isinstance(target, Tensor):
        raise ValueError(f"`target` is a {type(target).__name__}, wanted a tensor. {TARGET_CURE}")
    if task != "multilabel" and target.ndim >= 2 and target.shape[1] == 1:
        target = target[:, 0]
    shape = f"`target` has shape {tuple(target.shape)}"
    if task == "multilabel" and target.ndim < 2:
        raise ValueError(
            f"{shape}, wanted 0 or 1 for each label (N, L). For one class a row say task='multiclass' or 'binary'."
        )
    if target.ndim == 0:
        raise ValueError(f"{shape}, wanted class indices of shape (N,). {TARGET_CURE}")
    if target.is_floating_point() and task == "multiclass":
        cure = TARGET_CURE if target.ndim > 1 else SINGLE_CURE
        raise ValueError(f"`target` is {target.dtype}, wanted integer class indices. {cure}")
    return as_indices(target)


def as_indices(target: Tensor) -> Tensor:
    """Whole numbers, int64; a fraction, or NaN for a target that is missing, is no class, and must not become one."""
    if target.is_floating_point():
        target = torch.where(target == target.round(), target, float(NO_CLASS))
    return target.long()


LABELS_CURE = (
    "For one-hot labels pass target_fn=lambda batch: batch[1].argmax(1), for several labels a row task='multilabel'."
)
SINGLE_CURE = (
    "If the network gives one score a row, say task='binary'; for a regression take TorchMetrics, and to "
    "explain one explain=lambda output, inputs: output.flatten(); else pass "
    "target_fn=lambda batch: ... that returns class indices."
)
TARGET_CURE = f"Pass target_fn=lambda batch: ... that returns class indices. {LABELS_CURE}"


def to_rows(scores: Tensor, target: Tensor, task: Task) -> tuple[Tensor, Tensor]:
    """Bring logits and targets with further dimensions to rows: ``(N, C)`` with ``(N,)``, or both ``(N, L)``."""
    if scores.ndim == 2:
        return scores, target
    rows = scores.movedim(1, -1).reshape(-1, scores.shape[1])
    return rows, target.movedim(1, -1).reshape(rows.shape) if task == "multilabel" else target.reshape(-1)
