"""How a batch is read, as the user said it, and the tensors in what a step or module returned."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import torch
from torch import Tensor

from lightning_posttrain.tasks import ScoreKind, Task, count_classes, fits

SAID_KEYS: dict[ScoreKind, tuple[str, ...]] = {"logits": ("logits",), "probabilities": ("probabilities", "probs")}
"""Keys that say what stands under them."""
HINT_KEYS = ("scores", "y_hat", "preds", "predictions", "pred", "prediction")
"""Keys under which scores stand as a rule, but also confidences, classes or losses."""


@dataclass(frozen=True)
class Reading:
    """How class scores, targets and inputs are read from a batch; equal readings are done once."""

    task: Task = "multiclass"
    scores: ScoreKind = "logits"
    num_classes: int | None = None
    scores_fn: Callable[[Any, Any], Any] | None = None
    target_fn: Callable[[Any], Any] | None = None
    inputs_fn: Callable[[Any], Any] | None = None
    ignore_index: int | None = None

    def fits(self, tensor: Tensor, target: torch.Size) -> bool:
        """Whether ``tensor`` can be the class scores for targets of a shape."""
        if not fits(tensor, target, self.task):
            return False
        return self.num_classes is None or count_classes(tensor, self.task) == self.num_classes


def leaves(value: Any, keys: tuple[str, ...], path: str = "") -> Iterator[tuple[str, Tensor]]:
    """Path and tensor of every tensor in ``value``; of what has a usual key or attribute, only what stands there."""
    if isinstance(value, Tensor):
        yield path, value
        return
    parts = named_parts(value)
    named = [key for key in keys if key in parts][:1]
    for key in named or parts:
        yield from leaves(parts[key], keys, f"{path}[{key!r}]")


def named_parts(value: Any) -> Mapping[Any, Any]:
    """The parts of a dict, tuple, list, dataclass or object with scores, by key, position or attribute."""
    if isinstance(value, Mapping):
        return value
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return dict(value._asdict())
    if isinstance(value, (tuple, list)):
        return dict(enumerate(value))
    if is_dataclass(value) and not isinstance(value, type):
        return {part.name: getattr(value, part.name) for part in fields(value)}
    usual = (key for keys in (*SAID_KEYS.values(), HINT_KEYS) for key in keys)
    return {key: getattr(value, key) for key in usual if isinstance(getattr(value, key, None), Tensor)}
