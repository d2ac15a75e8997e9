"""What a search over settings found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, final

Status = Literal["complete", "pruned", "failed", "running", "waiting"]
Mode = Literal["min", "max"]


@final
@dataclass(frozen=True)
class Trial:
    """One setting that was tried."""

    number: int
    params: Mapping[str, Any] = field(default_factory=dict)
    status: Status = "waiting"
    value: float | None = None
    step: int | None = None
    seconds: float | None = None
    reason: str = ""
    again: int | None = None
    figures: Mapping[str, float] = field(default_factory=dict)
    test: Mapping[str, float] = field(default_factory=dict)
    folder: str = ""
    curve: Mapping[int, float] = field(default_factory=dict)


@final
@dataclass(frozen=True)
class Study:
    """A search over settings: what was tried, and the best."""

    name: str
    monitor: str
    mode: Mode
    space: Mapping[str, Any]
    sampler: str
    pruner: str
    trials: tuple[Trial, ...]
    folder: str = ""

    @property
    def ranked(self) -> tuple[Trial, ...]:
        """Complete trials, the best first; of equal values the earlier."""
        sign = -1 if self.mode == "max" else 1
        done = (trial for trial in self.trials if trial.status == "complete")
        return tuple(sorted(done, key=lambda trial: (sign * (trial.value or 0.0), trial.number)))

    @property
    def best(self) -> Trial:
        """The complete trial with the best value."""
        if not self.ranked:
            raise ValueError(f"study {self.name!r} has no best trial")
        return self.ranked[0]

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values."""
        return asdict(self)
