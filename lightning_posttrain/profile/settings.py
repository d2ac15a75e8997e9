"""What a user says of a profile, checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lightning_posttrain.core.callback.options import at_least, by_metric, finite, one_of


@dataclass(frozen=True)
class Settings:
    """What the user said; see ``ModelProfile``."""

    target: Mapping[str, float]
    modes: Mapping[str, Any]
    batch_sizes: Sequence[int]
    seconds: float

    def __post_init__(self) -> None:
        """Raise ``ValueError`` for what cannot be meant."""
        by_metric("target", self.target, "{'val/accuracy': 0.95}")
        by_metric("modes", self.modes, "{'val/accuracy': 'max'}")
        for value in self.target.values():
            finite("target", value)
        for mode in self.modes.values():
            one_of("modes", mode, ("min", "max"))
        _check_sizes(self.batch_sizes)
        finite("seconds", self.seconds)
        at_least("seconds", self.seconds, 0.0)


def _check_sizes(sizes: object) -> None:
    if isinstance(sizes, str) or not isinstance(sizes, Sequence):
        raise ValueError(f"`batch_sizes` is {sizes!r}, wanted a list of numbers, as [1, 8].")
    for size in sizes:
        finite("batch_sizes", size)
        at_least("batch_sizes", size, 1)
        if not isinstance(size, int):
            raise ValueError(f"`batch_sizes` has {size!r}, wanted whole numbers.")
