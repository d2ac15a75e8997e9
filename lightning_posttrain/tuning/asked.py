"""The settings of a study, which must stay the same while it goes on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, final

from lightning_posttrain.tuning.refusal import StudyRefused
from lightning_posttrain.tuning.result import Mode
from lightning_posttrain.tuning.space import described_space

Rule = Literal["best", "last"]
SAMPLING, FIT = 0, 1
"""Purposes of a trial's seeds."""


@final
@dataclass(frozen=True)
class Asked:
    """What ``tune`` was called with, checked.

    Args:
        space: what may be tried.
        monitor: name of the figure.
        mode: whether less is better.
        value: which of a trial's figures is its value.
        trials: how many.
        sampler: who proposes.
        pruner: who ends trials early.
        seed: of the samplers and trials.
        grace: seconds of silence after which a process of another machine is taken for dead.
        folder: of the study.
    """

    space: Mapping[str, Any]
    monitor: str
    mode: Mode
    value: Rule
    trials: int
    sampler: str
    pruner: str
    seed: int
    grace: float
    folder: Path

    def fixed(self) -> dict[str, Any]:
        """What trials are compared by, as plain values."""
        return {
            "space": described_space(self.space),
            "monitor": self.monitor,
            "mode": self.mode,
            "value": self.value,
        }


def check_same(before: Mapping[str, Any], now: Mapping[str, Any], where: str) -> None:
    """Refuse to go on with trials that would not be comparable.

    Raises:
        StudyRefused: with each part that differs.
    """
    parts = [*_differing("", before, now, ("monitor", "mode", "value"))]
    parts += _differing("space ", before["space"], now["space"], sorted({*before["space"], *now["space"]}))
    if parts:
        raise StudyRefused(
            f"{where} holds a study with {'; '.join(parts)}: its trials could not be compared with others. Take "
            "another `folder` (with a database, also another `name`), or ask for what it has."
        )


def _differing(prefix: str, before: Mapping[str, Any], now: Mapping[str, Any], names: Any) -> list[str]:
    return [
        f"{prefix}{name} {_said(before, name)}, not {_said(now, name)}"
        for name in names
        if before.get(name) != now.get(name)
    ]


def _said(parts: Mapping[str, Any], name: str) -> str:
    found = parts.get(name, "none")
    if not isinstance(found, Mapping):
        return repr(found) if name in parts else "none"
    if "choices" in found:
        return repr(found["choices"])
    return f"{found['low']} to {found['high']}{' (log)' if found['log'] else ''}"
