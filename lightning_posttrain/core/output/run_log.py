"""What a run leaves of itself: ``run.json`` as a whole, ``history.jsonl`` with a line for each epoch and stage."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from lightning_posttrain.core.output.artifacts import File, Tagged
from lightning_posttrain.core.output.result import undefined_to_none
from lightning_posttrain.core.output.run_folder import RunFolder

SCHEMA = 1
MOST = 10_000
"""Lines of a history; beyond that every other of the older ones goes."""
REMARKS = 200
"""Remarks that are kept, the first ones."""


@dataclass(frozen=True)
class Moment:
    """Where a run is.

    Args:
        stage: ``"train"``, ``"val"`` or ``"test"``.
        epoch: from 0 on.
        step: of the optimiser.
        metrics: what was logged of it, by name without the stage.
        seconds: since the process began with the run.
    """

    stage: str
    epoch: int
    step: int
    metrics: Mapping[str, float]
    seconds: float


@dataclass(eq=False)
class RunLog:
    """Gathers what is written of one run; what was there before is read, and gone on with, by the first writing.

    Attributes:
        since: step from which the run goes on: lines of an earlier one up to it stay; 0 for a fit from the start, after
            which none do; None for an evaluation by itself, which adds to what is there.
        class_names: of what figures tell apart.
        remarks: what was said, with its stage.
        of_evaluation: names that are logged in evaluations.
        trained: number of the last training epoch that is in the history.
        loaded: epoch and step of the checkpoint that is evaluated, or None.
    """

    since: int | None = None
    class_names: tuple[str, ...] = ()
    remarks: list[dict[str, str]] = field(default_factory=list)
    of_evaluation: set[str] = field(default_factory=set)
    trained: int = -1
    loaded: tuple[int, int] | None = None
    _began: float = field(default_factory=time.monotonic)
    _before: float = 0.0
    _record: dict[str, Any] | None = None
    _lines: list[dict[str, Any]] = field(default_factory=list)
    _thinned: bool = False

    def seconds(self) -> float:
        """Since the process began with the run."""
        return time.monotonic() - self._began

    def remark(self, text: str, stage: str) -> None:
        """Keep what is said."""
        if len(self.remarks) < REMARKS:
            self.remarks.append({"text": text, "stage": stage})

    def named(self, names: tuple[str, ...]) -> None:
        """Take names of classes; plain numbers only where there are no others."""
        if not self.class_names or _are_numbers(self.class_names):
            self.class_names = names

    def written(
        self, folder: str, facts: Mapping[str, Any], stages: Mapping[str, Any], moment: Moment | None
    ) -> Iterator[Tagged]:
        """The two files, for the thread in the background.

        Args:
            folder: the run's, with a ``posttrain`` in it, perhaps of an earlier process.
            facts: of the run as a whole, as they are now.
            stages: facts of those that were seen last, by name.
            moment: a line for the history, or None.
        """
        if self._record is None:
            self._read(folder)
        record = self._record = self._joined(facts, stages)
        if moment is not None:
            self._add(moment)
            lines = (json.dumps(line, ensure_ascii=False, allow_nan=False) for line in self._lines)
            content = "".join(f"{line}\n" for line in lines).encode(errors="backslashreplace")
            yield Tagged("history", File(content, ".jsonl"))
        text = json.dumps(undefined_to_none(record), ensure_ascii=False, allow_nan=False, indent=1)
        yield Tagged("run", File(f"{text}\n".encode(errors="backslashreplace"), ".json"))

    def _read(self, folder: str) -> None:
        """What an earlier process left, as far as the run goes on with it."""
        self._record = {}
        if self.since == 0 or "://" in folder:
            return
        try:
            before = RunFolder(folder)
            self._record, self._lines = before.run, before.history()
        except (OSError, ValueError):  # nothing was left
            return
        if self.since is not None:
            known = [line for line in self._lines if isinstance(line.get("step"), int)]
            self._lines = [line for line in known if line["step"] <= self.since]
        told = [line["seconds"] for line in self._lines if isinstance(line.get("seconds"), (int, float))]
        self._before = max(told, default=0.0)

    def _joined(self, facts: Mapping[str, Any], stages: Mapping[str, Any]) -> dict[str, Any]:
        before = self._record or {}
        now = time.strftime("%Y-%m-%dT%H:%M:%S%z")
        earlier = {name: part for name, part in (before.get("stages") or {}).items() if name not in stages}
        old = before.get("remarks") or []
        said = [one for one in old if one not in self.remarks and one.get("stage") not in stages]
        return {
            "kind": "run",
            "schema": SCHEMA,
            "created": before.get("created", now),
            "updated": now,
            **facts,
            "class_names": self.class_names or before.get("class_names") or (),
            "stages": {**earlier, **stages},
            "remarks": [*said, *self.remarks][: 2 * REMARKS],
        }

    def _add(self, moment: Moment) -> None:
        """A line, in the place of one of the same moment."""
        line = undefined_to_none({**vars(moment), "seconds": round(self._before + moment.seconds, 3)})
        place = _place(line)
        self._lines = [*(one for one in self._lines if _place(one) != place), line]
        if len(self._lines) > MOST:
            self._lines = thinned(self._lines)
            if not self._thinned:
                self._thinned = True
                self.remark(f"history.jsonl keeps {MOST:,} lines; every other of the older ones is left out", "fit")


def _place(line: Mapping[str, Any]) -> tuple[Any, ...]:
    """An evaluation by itself has one line; of a fit each epoch, and each step of a validation in it."""
    return ("test",) if line.get("stage") == "test" else tuple(line.get(name) for name in ("stage", "epoch", "step"))


def thinned(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every other line of each stage, with the first and the last."""
    total, seen, kept = Counter(line.get("stage") for line in lines), Counter[Any](), []
    for line in lines:
        stage = line.get("stage")
        if seen[stage] % 2 == 0 or seen[stage] == total[stage] - 1:
            kept.append(line)
        seen[stage] += 1
    return kept


def _are_numbers(names: tuple[str, ...]) -> bool:
    return names == tuple(map(str, range(len(names))))
