"""Runs beside each other, as a table, a picture and a record."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from os import PathLike, fspath
from pathlib import Path
from typing import Any, ClassVar, final

from lightning_posttrain.core.output.columns import in_columns
from lightning_posttrain.core.output.restored import restored_fields
from lightning_posttrain.core.output.result import undefined_to_none
from lightning_posttrain.core.output.sinks.encode import encoded
from lightning_posttrain.core.output.sinks.stores import LocalStore
from lightning_posttrain.profile.compared.files import RunFigures, run_figures
from lightning_posttrain.profile.compared.front import on_front
from lightning_posttrain.profile.compared.quantities import QUANTITIES, quantity

PLOTTED = ("parameters", "flops", "latency", "training_seconds")
"""What accuracy is shown against."""


@final
@dataclass(frozen=True, eq=False)
class Pareto:
    """Several runs: how good each model is, and what it costs.

    A run is on the front of a cost where no other is as good for less, or better for as much.

    Args:
        metric: that they are compared by.
        stage: that it is of.
        falling: whether smaller is better.
        runs: in the order in which they were given.
    """

    kind: ClassVar[str] = "pareto"
    metric: str
    stage: str
    falling: bool
    runs: tuple[RunFigures, ...]

    def front(self, cost: str) -> tuple[str, ...]:
        """Names of the runs on the front of a cost, the cheapest first."""
        costs = [run.costs[cost] for run in self.runs]
        chosen = on_front([run.value for run in self.runs], costs, falling=self.falling)
        found = [run for run, there in zip(self.runs, chosen, strict=True) if there]
        return tuple(run.name for run in sorted(found, key=lambda run: run.costs[cost]))

    @property
    def costs(self) -> tuple[str, ...]:
        """Those that were measured of at least one run."""
        return tuple(name for name in QUANTITIES if any(math.isfinite(run.costs[name]) for run in self.runs))

    @property
    def notes(self) -> tuple[str, ...]:
        """What is to be known of the figures."""
        return tuple(filter(None, (self._apart(), "FLOPs are of one row: two for a multiplication and an addition.")))

    def _apart(self) -> str:
        """Whether the best can be told from the others."""
        sign = -1 if self.falling else 1
        best, *others = sorted(self.runs, key=lambda run: -sign * run.value)
        close = [run.name for run in others if _overlap(best.interval, run.interval)]
        if not close:
            return ""
        rows = f"these {best.rows} rows alone do" if best.rows else "these figures alone do"
        return f"The intervals of {best.name} and {', '.join(close)} overlap: {rows} not tell which is better."

    def cells(self) -> list[list[str]]:
        """The table: a head, and a line for each run."""
        head = ["run", self.metric.replace("_", " "), "95 % interval", *(QUANTITIES[name].title for name in self.costs)]
        fronts = {name: self.front(name) for name in self.costs if name in PLOTTED}
        return [head, *(self._line(run, fronts) for run in self.runs)]

    def _line(self, run: RunFigures, fronts: dict[str, tuple[str, ...]]) -> list[str]:
        low, high = run.interval
        between = f"{low:.4f} to {high:.4f}" if math.isfinite(low) else ""
        costs = (
            quantity(name, run.costs[name]) + (" *" if run.name in fronts.get(name, ()) else "") for name in self.costs
        )
        return [run.name, f"{run.value:.4f}", between, *costs]

    def __str__(self) -> str:
        """The table that papers print; a star marks who is on the front of a cost."""
        lines = in_columns(self.cells())
        return "\n".join([*lines, "", f"* on the front: none is as good for less. {' '.join(self.notes)}"])

    def to_dict(self) -> dict[str, Any]:
        """Everything, as plain values that JSON takes."""
        runs = [undefined_to_none(asdict(run)) for run in self.runs]
        fronts = {name: list(self.front(name)) for name in self.costs}
        return {
            "kind": self.kind, "metric": self.metric, "stage": self.stage, "falling": self.falling, "runs": runs,
            "fronts": fronts, "notes": list(self.notes),
        }  # fmt: skip

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> Pareto:
        """What ``to_dict`` gave."""
        return restored_fields(cls, state)

    def save(self, folder: str | PathLike[str]) -> Path:
        """Write ``pareto.csv``, ``pareto.json`` and ``pareto.png``, each whole or not at all.

        Returns:
            the folder.
        """
        from lightning_posttrain.profile.render.pareto import pareto_image

        store, table = LocalStore(fspath(folder)), io.StringIO(newline="")
        csv.writer(table).writerows(self.cells())
        store.put("pareto.csv", table.getvalue().encode())
        store.put("pareto.json", (json.dumps(self.to_dict(), indent=2) + "\n").encode())
        store.put("pareto.png", encoded(pareto_image(self)).content)
        return Path(fspath(folder))


def _overlap(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return one[0] <= other[1] and other[0] <= one[1]


def pareto(
    runs: Sequence[str | PathLike[str]], *, metric: str = "accuracy", stage: str = "test", falling: bool = False
) -> Pareto:
    """Runs beside each other: a metric against parameters, FLOPs, latency and training time.

    Args:
        runs: folders of at least two runs, as ``trainer.log_dir``, each with what ``ModelProfile`` and another
            callback, as ``ClassificationMetrics``, wrote.
        metric: a number in a report of the stage, as ``"accuracy"``, ``"f1_macro"`` or ``"log_loss"``.
        stage: ``"test"`` or ``"val"``.
        falling: whether smaller is better.

    Raises:
        ValueError: a folder is of no run, or without such figures.
    """
    if isinstance(runs, (str, PathLike)) or len(runs) < 2:
        raise ValueError(f"`runs` is {runs!r}, wanted the folders of two runs or more.")
    return Pareto(metric, stage, falling, tuple(run_figures(runs, metric=metric, stage=stage)))
