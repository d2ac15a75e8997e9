"""What a run left in its folder, as a program reads it back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from os import PathLike, fspath
from pathlib import Path
from typing import Any, final

HOME = "posttrain"
"""Name of the folder in a run's own."""


@final
class RunFolder:
    """The files of one run.

    Args:
        run: the run's folder, as ``trainer.log_dir``, or the ``posttrain`` in it.

    Attributes:
        home: the ``posttrain`` folder.

    Raises:
        ValueError: there is no such folder.
    """

    def __init__(self, run: str | PathLike[str]) -> None:
        self.home = _home(Path(fspath(run)))

    @property
    def run(self) -> dict[str, Any]:
        """What ``run.json`` says of the run as a whole; nothing where there is none."""
        return _read(self.home / "run.json") or {}

    @property
    def stages(self) -> tuple[str, ...]:
        """Stages that have a record, a test first."""
        found = {place.parent.name for place in self.home.glob("*/*.json")}
        return tuple(stage for stage in ("test", "val", "train", "fit") if stage in found)

    def record(self, stage: str, name: str) -> dict[str, Any] | None:
        """What a result's JSON holds, as ``record("test", "classification_report")``; None where it cannot be read."""
        return _read(self.home / stage / f"{name}.json")

    def records(self, stage: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Name and content of each JSON file of a stage that can be read."""
        for place in sorted((self.home / stage).glob("*.json")):
            found = _read(place)
            if found is not None:
                yield place.stem, found

    def history(self) -> list[dict[str, Any]]:
        """The lines of ``history.jsonl``: an epoch and stage each; those that cannot be read are left out."""
        place = self.home / "history.jsonl"
        lines = place.read_text(encoding="utf-8", errors="replace").splitlines() if place.is_file() else []
        return [found for found in map(_parsed, lines) if found is not None]


def _home(run: Path) -> Path:
    if not run.is_dir():
        raise ValueError(f"{str(run)!r} is no folder; wanted that of a run, as trainer.log_dir.")
    if run.name == HOME:
        return run
    if (run / HOME).is_dir():
        return run / HOME
    below = sorted(place.parent for depth in ("*", "*/*") for place in run.glob(f"{depth}/{HOME}"))
    near = f" There is {', '.join(map(str, below[:3]))}: pass the folder of one run." if below else ""
    raise ValueError(f"{str(run)!r} holds no {HOME!r}; wanted the folder of a run, as trainer.log_dir.{near}")


def _read(place: Path) -> dict[str, Any] | None:
    try:
        return _parsed(place.read_text(encoding="utf-8"))
    except OSError:
        return None


def _parsed(text: str) -> dict[str, Any] | None:
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
