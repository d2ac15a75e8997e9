"""What a run's folder says of how good its model is, and of what it costs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from os import PathLike
from pathlib import Path
from typing import Any

from lightning_posttrain.core.output.run_folder import RunFolder

RECORD = "profile"
"""Name of the record of a profile."""


@dataclass(frozen=True)
class RunFigures:
    """One run.

    Args:
        name: what tells it from the others.
        value: of the metric.
        interval: its 95 % interval; NaN where there is none.
        rows: that it was worked out on; 0 where that is not known.
        costs: by name: ``"parameters"``, ``"layers"``, ``"flops"`` a row, ``"latency"`` in seconds at batch 1,
            ``"training_seconds"``; NaN where not measured.
    """

    name: str
    value: float
    interval: tuple[float, float]
    rows: int
    costs: Mapping[str, float]


def run_figures(runs: Sequence[str | PathLike[str]], *, metric: str, stage: str) -> list[RunFigures]:
    """What the folders of runs say.

    Args:
        runs: folders of runs, each with a ``posttrain`` in it, or that itself.
        metric: of a report, as ``"accuracy"``.
        stage: ``"test"`` or ``"val"``.

    Raises:
        ValueError: a folder is of no run, has no such figure, or no profile.
    """
    folders = [_folder(run) for run in runs]
    names = _names([folder.home for folder in folders])
    return [_figures(folder, name, metric, stage) for folder, name in zip(folders, names, strict=True)]


def _folder(run: str | PathLike[str]) -> RunFolder:
    try:
        return RunFolder(run)
    except ValueError as error:
        raise ValueError(f"`runs`: {error}") from None


def _names(homes: Sequence[Path]) -> list[str]:
    """The shortest ends of paths that tell runs apart, without what all end on."""
    parts = [home.absolute().parent.parts for home in homes]
    while len({part[-1:] for part in parts}) == 1 and min(map(len, parts)) > 1 and len(parts) > 1:
        parts = [part[:-1] for part in parts]
    deep = next(n for n in range(1, 99) if len({part[-n:] for part in parts}) == len(set(parts)))
    return ["/".join(part[-deep:]) for part in parts]


def _figures(folder: RunFolder, name: str, metric: str, stage: str) -> RunFigures:
    reports = dict(folder.records(stage))
    found = next((record for record in reports.values() if _is_number(record.get(metric))), None)
    if found is None:
        raise ValueError(_no_figure(folder.home, metric, stage, reports))
    low, high = (found.get("intervals") or {}).get(metric) or (math.nan, math.nan)
    support = [entry.get("support") or 0 for entry in found.get("per_class") or () if isinstance(entry, Mapping)]
    return RunFigures(name, float(found[metric]), (float(low), float(high)), int(sum(support)), _costs(folder, stage))


def _no_figure(home: Path, metric: str, stage: str, reports: Mapping[str, Mapping[str, Any]]) -> str:
    there = sorted({name for record in reports.values() for name, value in record.items() if _is_number(value)})
    if not there:
        verb = "test" if stage == "test" else "validate"
        return f"{home / stage} has no figures. Run trainer.{verb} with ClassificationMetrics() among the callbacks."
    near = get_close_matches(metric, there, 1)
    return f"`metric` is {metric!r}, wanted one of {', '.join(near or there)}, which {home / stage} has."


def _costs(folder: RunFolder, stage: str) -> dict[str, float]:
    known = [found for place in (stage, "test", "fit", "val") if (found := folder.record(place, RECORD)) is not None]
    if not known:
        raise ValueError(f"{folder.home} has no {RECORD}.json. Run it with ModelProfile() among the callbacks.")
    names = ("parameters", "layers", "flops", "latency", "training_seconds")
    return {name: next(filter(math.isfinite, (_cost(record, name) for record in known)), math.nan) for name in names}


def _cost(record: Mapping[str, Any], name: str) -> float:
    value: Any = record.get(name)
    if name == "latency":
        value = ((record.get("latency") or {}).get("1") or {}).get("median")
    return float(value) if _is_number(value) else math.nan


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
