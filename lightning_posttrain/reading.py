"""How a batch is read, as the user said it, and the tensors in what a step or module returned."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from torch import Tensor

from lightning_posttrain.batch import ScoreKind, Task, count_classes, fits

SCORE_KEYS: dict[ScoreKind, tuple[str, ...]] = {
    "logits": (
        "logits",
        "scores",
        "y_hat",
        "preds",
        "predictions",
        "pred",
        "prediction",
        "outputs",
        "output",
    ),
    "probabilities": (
        "probabilities",
        "probs",
        "scores",
        "y_hat",
        "preds",
        "predictions",
        "outputs",
        "output",
    ),
}


@dataclass(frozen=True)
class Reading:
    """How class scores, targets and inputs are read from a batch; equal readings are done once."""

    task: Task = "multiclass"
    scores: ScoreKind = "logits"
    num_classes: int | None = None
    scores_fn: Callable[[Any, Any], Any] | None = None
    target_fn: Callable[[Any], Any] | None = None
    inputs_fn: Callable[[Any], Any] | None = None

    def fits(self, tensor: Tensor, rows: int) -> bool:
        """Whether ``tensor`` can be the class scores of ``rows`` targets."""
        if not fits(tensor, rows, self.task):
            return False
        return self.num_classes is None or count_classes(tensor, self.task) == self.num_classes


@dataclass(frozen=True, eq=False)
class Candidate:
    """A tensor that could be the class scores, and where it was found, in words."""

    origin: str
    tensor: Tensor


def leaves(value: Any, keys: tuple[str, ...], origin: str) -> Iterator[Candidate]:
    """Every tensor in ``value``; of a dict with a usual key, only what stands there."""
    if isinstance(value, Tensor):
        yield Candidate(origin, value)
    elif isinstance(value, Mapping):
        named = [key for key in keys if key in value][:1]
        for key in named or value:
            yield from leaves(value[key], keys, f"{origin}[{key!r}]")
    elif isinstance(value, (tuple, list)):
        for i, item in enumerate(value):
            yield from leaves(item, keys, f"{origin}[{i}]")
    elif is_dataclass(value) and not isinstance(value, type):
        yield from leaves({part.name: getattr(value, part.name) for part in fields(value)}, keys, origin)
