"""Names of scalars that a logger cannot hold: made safe for that logger, and only there."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from lightning.pytorch import Trainer

from lightning_posttrain.core.output.sinks.folder import marked

_PLAIN = re.compile(r"[a-zA-Z0-9_. -]*[a-zA-Z0-9_-]")
"""A part of a name that every logger holds."""


def plain_name(name: str) -> str:
    """``name`` in letters and digits of ASCII; a part that this changes has a mark that keeps it apart from others.

    Example:
        >>> plain_name("val/recall/cat"), plain_name("val/recall/猫")
        ('val/recall/cat', 'val/recall/_-85deb210')
    """
    return "/".join(map(_plain_part, name.split("/")))


def _plain_part(part: str) -> str:
    if _PLAIN.fullmatch(part):
        return part
    return marked(re.sub(r"[^a-zA-Z0-9_. -]", "_", part)[:100].rstrip(". "), part)


def refused_names(loggers: Iterable[Any], names: Iterable[str]) -> set[str]:
    """Those that one of the loggers cannot hold."""
    odd = {name for name in names if plain_name(name) != name}
    return odd if odd and any(map(_only_plain, loggers)) else set()


def log_apart(trainer: Trainer, scalars: Mapping[str, float], step: int) -> None:
    """Log to each logger by itself, under names that it holds, on the first rank."""
    for logger in trainer.loggers if trainer.is_global_zero else ():
        plain = _only_plain(logger)
        logger.log_metrics({plain_name(name) if plain else name: v for name, v in scalars.items()}, step)


def _only_plain(logger: Any) -> bool:
    """MLflow, told by its client: Lightning takes other letters out of a name, and MLflow refuses what is left."""
    experiment = getattr(logger, "experiment", None)
    return hasattr(experiment, "log_batch") and hasattr(experiment, "log_artifact")
