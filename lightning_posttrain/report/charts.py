"""Which scalars share a chart: training with validation, before with after calibration, scores with scores."""

from __future__ import annotations

import re
from collections.abc import Iterable

from lightning_posttrain.core.output.artifacts import ChartLayout
from lightning_posttrain.report.curves import FIRST

_STAGE = re.compile(r"(train|val)(?:id|idation|ing)?[/_.](.+)")
SCORES = ("accuracy", "balanced_accuracy", "f1", "f1_macro", "auroc", "auroc_macro", "precision", "recall")
LOSSES = ("loss", "log_loss")
MOST = 12
"""Charts of a group."""


def chart_layout(logged: Iterable[str]) -> ChartLayout:
    """The layout for the scalars that loggers get; a chart has two of them or more.

    Args:
        logged: their tags, with those of training.

    Example:
        >>> chart_layout(["train_loss_epoch", "val/loss", "val/ece"]).groups
        {'training with validation': {'loss': ('train_loss_epoch', 'val/loss')}}
    """
    tags: dict[tuple[str, str], str] = {}
    for tag in sorted(logged):
        found = _STAGE.fullmatch(tag)
        if found and not tag.endswith("_step"):
            tags.setdefault((found[1], found[2].removesuffix("_epoch")), tag)
    val = {name: tag for (stage, name), tag in tags.items() if stage == "val"}
    both = sorted((name for name in val if ("train", name) in tags), key=_rank)
    groups: dict[str, dict[str, tuple[str, ...]]] = {
        "training with validation": {name: (tags["train", name], val[name]) for name in both},
        "validation": {"scores": _those(SCORES, val), "losses": _those(LOSSES, val)},
        "before with after calibration": {name: pair for name in (*LOSSES, "ece") if (pair := _mended(name, val))},
        "training − validation": {name: (tag,) for tag in logged if (name := tag.removeprefix("gap/")) != tag},
    }
    kept = {title: dict([*of.items()][:MOST]) for title, charts in groups.items() if (of := _worth(title, charts))}
    return ChartLayout(kept)


def _worth(title: str, charts: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    least = 1 if "−" in title else 2
    return {name: tags for name, tags in charts.items() if len(tags) >= least}


def _those(names: Iterable[str], val: dict[str, str]) -> tuple[str, ...]:
    return tuple(val[name] for name in names if name in val)


def _mended(name: str, val: dict[str, str]) -> tuple[str, ...]:
    """The tags of a figure as the model has it, and after an adjustment."""
    before = val.get(name) or val.get(f"calibration/{name}")
    after = val.get(f"calibration/{name}_calibrated")
    return (before, after) if before and after else ()


def _rank(name: str) -> tuple[int, str]:
    return (FIRST.index(name) if name in FIRST else len(FIRST)), name
