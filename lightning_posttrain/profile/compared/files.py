"""What a run's folder says of how good its model is, and of what it costs."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from os import PathLike, fspath
from pathlib import Path
from typing import Any

HOME = "posttrain"
RECORD = "profile"
"""Names of the folder in a run's own, and of the file of a profile."""


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
    homes = [_home(Path(fspath(run))) for run in runs]
    return [_figures(home, name, metric, stage) for home, name in zip(homes, _names(homes), strict=True)]


def _home(run: Path) -> Path:
    if not run.is_dir():
        raise ValueError(f"`runs` has {str(run)!r}, which is no folder; wanted that of a run, as trainer.log_dir.")
    if run.name == HOME:
        return run
    if (run / HOME).is_dir():
        return run / HOME
    below = sorted(place.parent for depth in ("*", "*/*") for place in run.glob(f"{depth}/{HOME}"))
    near = f" There is {', '.join(map(str, below[:3]))}: pass the folder of one run." if below else ""
    wanted = f"wanted the folder of a run, as trainer.log_dir, which holds {HOME!r}"
    raise ValueError(f"`runs` has {str(run)!r}; {wanted}.{near}")


def _names(homes: Sequence[Path]) -> list[str]:
    """The shortest ends of paths that tell runs apart, without what all end on."""
    parts = [home.absolute().parent.parts for home in homes]
    while len({part[-1:] for part in parts}) == 1 and min(map(len, parts)) > 1 and len(parts) > 1:
        parts = [part[:-1] for part in parts]
    deep = next(n for n in range(1, 99) if len({part[-n:] for part in parts}) == len(set(parts)))
    return ["/".join(part[-deep:]) for part in parts]


def _figures(home: Path, name: str, metric: str, stage: str) -> RunFigures:
    reports = dict(_records(home / stage))
    found = next((record for record in reports.values() if _is_number(record.get(metric))), None)
    if found is None:
        raise ValueError(_no_figure(home, metric, stage, reports))
    low, high = (found.get("intervals") or {}).get(metric) or (math.nan, math.nan)
    support = [entry.get("support") or 0 for entry in found.get("per_class") or () if isinstance(entry, Mapping)]
    return RunFigures(name, float(found[metric]), (float(low), float(high)), int(sum(support)), _costs(home, stage))


def _records(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The JSON files of a stage that can be read."""
    for place in sorted(folder.glob("*.json")):
        try:
            record = json.loads(place.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(record, dict):
            yield place.stem, record


def _no_figure(home: Path, metric: str, stage: str, reports: Mapping[str, Mapping[str, Any]]) -> str:
    there = sorted({name for record in reports.values() for name, value in record.items() if _is_number(value)})
    if not there:
        verb = "test" if stage == "test" else "validate"
        return f"{home / stage} has no figures. Run trainer.{verb} with ClassificationMetrics() among the callbacks."
    near = get_close_matches(metric, there, 1)
    return f"`metric` is {metric!r}, wanted one of {', '.join(near or there)}, which {home / stage} has."


def _costs(home: Path, stage: str) -> dict[str, float]:
    records = {place: dict(_records(home / place)).get(RECORD) for place in (stage, "test", "fit", "val")}
    known = [record for record in records.values() if record is not None]
    if not known:
        raise ValueError(f"{home} has no {RECORD}.json. Run it with ModelProfile() among the callbacks.")
    names = ("parameters", "layers", "flops", "latency", "training_seconds")
    return {name: next(filter(math.isfinite, (_cost(record, name) for record in known)), math.nan) for name in names}


def _cost(record: Mapping[str, Any], name: str) -> float:
    value: Any = record.get(name)
    if name == "latency":
        value = ((record.get("latency") or {}).get("1") or {}).get("median")
    return float(value) if _is_number(value) else math.nan


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
