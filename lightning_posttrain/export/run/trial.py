"""Exported formats on real rows beside the module that was tested: how far they are apart, what each is worth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from lightning_posttrain.classification import ClassificationMetrics, EvalBatch
from lightning_posttrain.core.output.first_line import first_line
from lightning_posttrain.core.stream.evaluation import Evaluation
from lightning_posttrain.export.decision import Decision
from lightning_posttrain.export.drift.reference import LEAST_ROWS, DriftReferenceBuilder
from lightning_posttrain.export.outputs import Outputs, Runner
from lightning_posttrain.export.parity.sums import ParitySums
from lightning_posttrain.export.parity.tolerance import Precision
from lightning_posttrain.export.run.data_seen import DataSeen
from lightning_posttrain.export.run.figures import Figures, with_labels
from lightning_posttrain.export.run.input_statistics import InputStatistics
from lightning_posttrain.export.run.row_form import Inputs, as_rows, by_sample, decided, scored
from lightning_posttrain.export.run.tested import Tested, most_probable
from lightning_posttrain.export.signature import Array

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule

EAGER = "eager"
"""Name of the module that was tested, beside those of formats."""


class Trial:
    """Runs formats on batches.

    Args:
        runners: by format.
        decision: how the module decides.
        metrics: which figures are worked out.
        precisions: of each format.
    """

    def __init__(
        self,
        runners: Mapping[str, Runner],
        decision: Decision,
        metrics: ClassificationMetrics,
        precisions: Mapping[str, Precision],
    ) -> None:
        self.runners = dict(runners)
        self._labels = decision.task == "multilabel"
        self.sums = {name: ParitySums(precisions[name], decision=decision) for name in runners}
        self.figures = {name: Figures(metrics) for name in (EAGER, *runners)}
        relabels = decision.calibration is not None and decision.calibration["method"] != "temperature"
        self._of_labels = {name: Figures(metrics) for name in self.figures} if relabels else {}
        self._decisions = self._relabelled = 0
        self.failed: dict[str, str] = {}
        self.seen = DataSeen(len(decision.class_names))
        self.inputs = InputStatistics()
        self.rows = 0
        self._reference = DriftReferenceBuilder(task=decision.task)

    def add(self, inputs: Inputs, tested: Tested, *, batch: EvalBatch | None, index: Tensor | None = None) -> None:
        """Compare a batch.

        Args:
            inputs: by name, as runners take them.
            tested: what the module answers.
            batch: the same rows with their targets, on the CPU; None where they are not known.
            index: where the samples stand in the dataset, or None.
        """
        size = len(next(iter(inputs.values())))
        for name in [each for each in self.runners if each not in self.failed]:
            self._run(name, inputs, tested, batch, size)
        if batch is not None:
            self._count(EAGER, batch, tested.answers, tested.labels)
            self.seen.add(batch.target, index, size)
        if self._of_labels:
            likely = most_probable(tested.answers.probabilities, labels=self._labels)
            self._relabelled += int((likely != tested.labels).sum())
            self._decisions += tested.labels.size
        self.rows += size
        self.inputs.add(inputs)
        self._watch(tested.answers, None if batch is None else np.asarray(batch.marked), samples=size)

    def _run(self, name: str, inputs: Inputs, tested: Tested, batch: EvalBatch | None, size: int) -> None:
        """What a format answers."""
        try:
            got = as_rows(self.runners[name](inputs), labels=self._labels)
            self._compare(name, got, tested, batch, size)
        except Exception as error:  # whatever a runtime raises is the finding
            self.failed[name] = f"it fails on a batch of {size} rows: {first_line(error)}"
            return
        if batch is not None:
            other = got.decision != tested.answers.decision
            labels = np.where(other & (got.decision >= 0), got.decision, tested.labels)
            self._count(name, batch, got, labels)

    def _compare(self, name: str, got: Outputs, tested: Tested, batch: EvalBatch | None, size: int) -> None:
        """Positions of one sample are one row, as they are not independent."""
        wanted, margin = (_flat(one, size) for one in (tested.answers, tested.margin))
        target = None if batch is None else _flat(np.asarray(batch.marked), size)
        self.sums[name].add(wanted, _flat(got, size), margin=margin, target=target)

    def _count(self, name: str, batch: EvalBatch, answers: Outputs, labels: Array) -> None:
        self.figures[name].add(scored(batch, answers))
        if self._of_labels:
            self._of_labels[name].add(decided(batch, labels))

    def reports(self, module: LightningModule, evaluation: Evaluation) -> dict[str, Any]:
        """By ``"eager"`` and format, the report of a classifier; none where no targets are known."""
        if not self.seen.rows:
            return {}
        found = {n: each.report(module, evaluation) for n, each in self.figures.items() if n not in self.failed}
        of_labels = {name: self._of_labels[name].report(module, evaluation) for name in found if self._of_labels}
        return {name: with_labels(report, of_labels[name]) if of_labels else report for name, report in found.items()}

    @property
    def remarks(self) -> tuple[str, ...]:
        """That probabilities speak for other classes than decisions, which are not made of calibrated ones."""
        if not self._of_labels or not self._relabelled:
            return ()
        what = "label" if self._labels else "class"
        return (
            f"calibration makes another {what} the likelier one in {self._relabelled:,} of {self._decisions:,} "
            "decisions, which stay those of the network's own probabilities, as they were tested",
        )

    def drift_reference(self) -> dict[str, Any] | None:
        """Of all rows, for the manifest; None where they are too few to tell anything from."""
        return self._reference.reference().to_dict() if self._reference.rows >= LEAST_ROWS else None

    def _watch(self, tested: Outputs, target: Array | None, *, samples: int) -> None:
        """Note what the module answers, for the drift watch."""
        if np.isfinite(tested.probabilities).all():
            known = target if samples == len(tested.probabilities) else None
            self._reference.add(*by_sample(tested, samples, labels=self._labels), known)


def _flat(rows: Any, samples: int) -> Any:
    """A row for each sample, of what has one for each decision."""
    if isinstance(rows, Outputs):
        return Outputs(*(_flat(part, samples) for part in rows))
    return rows.reshape(samples, -1) if samples else rows
