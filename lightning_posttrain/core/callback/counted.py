"""Hooks whose seconds are counted as their callback's."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from lightning_posttrain.core.stream.stream import EvaluationStream


def counted(hook: Callable[..., None]) -> Callable[..., None]:
    """A hook of a callback of the stream, as an action of the run's costs; what it calls that is counted goes off."""
    name = hook.__name__.strip("_")

    @wraps(hook)
    def inside(self: Any, trainer: Any, *args: Any, **options: Any) -> None:
        with EvaluationStream.of(trainer).clock(f"{self.action}.{name}"):
            hook(self, trainer, *args, **options)

    return inside
