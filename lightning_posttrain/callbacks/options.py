"""The options that every callback takes, and how they are checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypedDict

from lightning_posttrain.loaders import Stage
from lightning_posttrain.tasks import ScoreKind, Task


class EvaluationOptions(TypedDict, total=False):
    """What every callback takes; said on ``StreamCallback``."""

    name: str | None
    class_names: Sequence[str] | None
    num_classes: int | None
    task: Task
    scores: ScoreKind
    scores_fn: Callable[[Any, Any], Any] | None
    target_fn: Callable[[Any], Any] | None
    inputs_fn: Callable[[Any], Any] | None
    ignore_index: int | None
    stages: Sequence[Stage]
    on_error: Literal["warn", "raise"]


def distinct(names: Sequence[str]) -> tuple[str, ...]:
    """``names`` as they will be shown; raises ``ValueError`` where two are the same."""
    if isinstance(names, (str, Mapping)):
        raise ValueError(f"`class_names` is a {type(names).__name__}, wanted a list with a name for each class.")
    texts = tuple(map(str, names))
    twice = [name for name in texts if texts.count(name) > 1]
    if twice or not all(texts) or not texts:
        raise ValueError(
            f"`class_names` has {twice[0]!r} twice." if twice else "`class_names` has an empty name or none."
        )
    return texts


def one_of(argument: str, value: object, allowed: tuple[str, ...]) -> None:
    """Raise ``ValueError`` where ``value`` is not allowed for ``argument``."""
    if value not in allowed:
        raise ValueError(f"`{argument}` is {value!r}, wanted {' or '.join(map(repr, allowed))}.")


def hashable(argument: str, value: object) -> None:
    """Raise ``ValueError`` where ``value`` cannot tell equal requests from others."""
    if value is not None and type(value).__hash__ is None:
        raise ValueError(f"`{argument}` is a {type(value).__name__} without a hash; pass a function.")


def at_least(argument: str, value: float, least: float) -> None:
    """Raise ``ValueError`` where ``value`` is too small for ``argument``."""
    if value < least:
        raise ValueError(f"`{argument}` is {value}, wanted at least {least}.")
