"""Options of drivers and of their Trainers, and which may differ when a run is started again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypedDict

from lightning_posttrain.classification import EvaluationOptions
from lightning_posttrain.ensembles.drivers.member import Make

OWN = {
    "callbacks": "Pass callbacks=lambda member: [...] to the driver, which makes them anew for each member.",
    "logger": "Pass loggers=lambda member: [...] to the driver, which makes them anew for each member.",
    "default_root_dir": "Each member has a folder of its own below `folder`; leave it out.",
    "enable_checkpointing": "A member is its checkpoint; leave it out.",
}
"""Arguments of a Trainer that members cannot share, and what to do instead."""
ELSEWHERE = {
    "accelerator", "devices", "num_nodes", "strategy", "profiler", "enable_progress_bar", "enable_model_summary",
    "log_every_n_steps", "barebones",
}  # fmt: skip
"""Arguments of a Trainer that may differ when a run is started again, as on another machine."""


class DriverOptions(TypedDict, total=False):
    """What every driver takes; said on ``Driver``."""

    members: int
    seed: int
    monitor: str | None
    mode: Literal["min", "max"]
    callbacks: Make | None
    loggers: Make | None
    resume: Literal["begin", "checkpoint"]
    reading: EvaluationOptions | None
    judged_rows: int
    progress: bool


def check_trainer(trainer: Mapping[str, Any]) -> None:
    """Raise where members cannot share an argument.

    Raises:
        ValueError: with what to do instead.
    """
    for name, cure in OWN.items():
        if name in trainer:
            raise ValueError(f"`{name}` was passed to fit, for all members. {cure}")


def plain(value: Any) -> Any:
    """A setting as JSON has it; of objects the name of their class."""
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    return value if isinstance(value, (bool, int, float, str, type(None))) else type(value).__name__
