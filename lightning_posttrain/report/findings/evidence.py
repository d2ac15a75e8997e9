"""The records of a stage as the rules read them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, final

from lightning_posttrain.core.output.run_folder import RunFolder
from lightning_posttrain.core.statistics.binomial import share_interval
from lightning_posttrain.report.findings.counts import ClassCounts, Errors, of_matrix, of_report
from lightning_posttrain.report.findings.finding import FEW

Interval = tuple[float, float]


@final
class Evidence:
    """What is known of a stage.

    Args:
        folder: of the run.
        stage: as ``"test"``.
    """

    def __init__(self, folder: RunFolder, stage: str) -> None:
        self.folder, self.stage = folder, stage

    def record(self, name: str, stage: str | None = None) -> dict[str, Any]:
        """A record; nothing where there is none."""
        return self.folder.record(stage or self.stage, name) or {}

    def file(self, *names: str, stage: str | None = None) -> str | None:
        """The first of some files that is there, relative to the ``posttrain`` folder."""
        wanted = (f"{stage or self.stage}/{name}" for name in names)
        return next((name for name in wanted if (self.folder.home / name).is_file()), None)

    @cached_property
    def report(self) -> dict[str, Any]:
        """The classification report."""
        return self.record("classification_report")

    @cached_property
    def matrix(self) -> dict[str, Any]:
        """The confusion matrix, or of labels one of each."""
        return self.record("confusion_matrix")

    @property
    def labels(self) -> bool:
        """Whether a row has several labels."""
        return "hamming_loss" in self.report or "exact" in self.matrix

    @cached_property
    def classes(self) -> ClassCounts | None:
        """Rows of each class, of a task in which a row has one."""
        if self.labels:
            return None
        if self.matrix:
            return of_matrix(self.matrix)[0]
        return of_report(self.report) if "per_class" in self.report else None

    @cached_property
    def errors(self) -> Errors | None:
        """The wrong rows by pair of classes."""
        return of_matrix(self.matrix)[1] if self.matrix and not self.labels else None

    @cached_property
    def hits(self) -> tuple[int, int]:
        """Rows that are right, and all; (0, 0) where that is not known."""
        if self.classes is not None:
            return int(self.classes.right.sum()), int(self.classes.support.sum())
        if "exact" in self.matrix:
            return int(self.matrix["exact"]), int(self.matrix["rows"])
        rows = self.rows if self.labels else 0
        return round((self.report.get("accuracy") or 0.0) * rows), rows

    @cached_property
    def rows(self) -> int:
        """Rows of the stage, by whichever record says so; 0 where none does."""
        if self.classes is not None or "exact" in self.matrix:
            return self.hits[1]
        said = (self.folder.run.get("stages") or {}).get(self.stage) or {}
        others = (self.record(name).get("rows") for name in ("calibration", "thresholds", "hard_examples"))
        return int(next((count for count in (said.get("rows"), *others) if count), 0))

    @cached_property
    def dependent(self) -> bool:
        """Whether several rows are of one sample, as pixels of an image, so that no interval holds."""
        return bool(self.report.get("positions"))

    @property
    def conclusive(self) -> bool:
        """Whether rows are independent and enough to conclude anything from them."""
        return not self.dependent and self.rows >= FEW

    @cached_property
    def accuracy_interval(self) -> Interval:
        """95 % interval of the share of rows that are right."""
        return accuracy_interval(self.report, *self.hits)


def accuracy_interval(report: Mapping[str, Any], hits: int, rows: int) -> Interval:
    """95 % interval of the share of rows that are right: that of the report, else, as of few rows, the exact one.

    Args:
        report: of the classifier, with ``intervals`` by name.
        hits: rows that are right.
        rows: of all.
    """
    known = (report.get("intervals") or {}).get("accuracy")
    if not known or None in known or rows < FEW or known[0] == known[1]:
        return share_interval(hits, rows)
    return float(known[0]), float(known[1])
