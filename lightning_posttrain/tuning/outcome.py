"""How a trial ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, final


@final
@dataclass(frozen=True)
class Outcome:
    """How a trial ended.

    Args:
        status: ``"complete"``, ``"pruned"`` or ``"failed"``.
        value: of a complete trial.
        step: training step of the value.
        reason: why it did not complete.
        figures: all that was logged last.
        checkpoint: file of the best epoch, from the study's folder on; empty where there is none.
        folder: of the trial, from the study's folder on.
    """

    status: Literal["complete", "pruned", "failed"]
    value: float | None = None
    step: int | None = None
    reason: str = ""
    figures: Mapping[str, float] = field(default_factory=dict)
    checkpoint: str = ""
    folder: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain values; the status and the value are the storage's own."""
        return {name: value for name, value in asdict(self).items() if name not in ("status", "value")}
