"""The report of a classifier, of probabilities that a model outside of the step gives."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from lightning_posttrain.classification import ClassificationMetrics, ClassReading, EvalBatch
from lightning_posttrain.core.capture.foreign import attribute
from lightning_posttrain.core.stream.evaluation import Evaluation
from lightning_posttrain.core.stream.reading import Part
from lightning_posttrain.export.run.context import Context

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule


OF_PROBABILITIES = ("log_loss", "brier", "ece", "auroc", "average_precision", "top_")
"""How figures begin that labels alone do not give."""


class Figures:
    """Folds batches into the figures that ``ClassificationMetrics`` reports.

    Args:
        metrics: which figures.
    """

    def __init__(self, metrics: ClassificationMetrics) -> None:
        self._metrics = metrics
        self._part: Part | None = None

    def add(self, batch: EvalBatch) -> None:
        """Fold a batch, on the CPU."""
        self._of(self._metrics.reading.likeness(batch)).add(batch)

    def _of(self, likeness: tuple[int, ...]) -> Part:
        """What is accumulated, of batches with a likeness."""
        if self._part is None:
            with torch.inference_mode(False):
                self._part = self._metrics.reading.part(likeness, self._metrics.metrics(), torch.device("cpu"))
        return self._part

    def report(self, module: LightningModule, evaluation: Evaluation) -> Any:
        """The report, of the loader of an evaluation."""
        part = self._of((len(evaluation.names), 0))
        part.flush()
        found = Evaluation(
            evaluation.stage, evaluation.suffix, evaluation.names, part.results(), part.independent
        )  # none of the module's own figures, which are of other scores
        return self._metrics.summarize(module, found, evaluation.names)


def with_labels(report: Any, of_labels: Any) -> Any:
    """A report whose figures of labels are those of another one.

    A calibration that gives each class or label numbers of its own may change what is most probable, and not what is
    decided.

    Args:
        report: of calibrated probabilities.
        of_labels: of what the network's own probabilities say.
    """
    overall = {
        name: value if name.startswith(OF_PROBABILITIES) else of_labels.overall[name]
        for name, value in report.overall.items()
    }
    return replace(report, overall=overall, intervals=of_labels.intervals)


def metrics_of(run: Context) -> ClassificationMetrics:
    """Which figures: those of the ``ClassificationMetrics`` of the Trainer that reads so, else the usual ones."""
    for callback in attribute(run.trainer, "callbacks", ()):
        if isinstance(callback, ClassificationMetrics):
            for part in callback.parts():
                if isinstance(part, ClassificationMetrics) and _is_same(part.reading, run.reading):
                    return part
    usual = ClassificationMetrics(task=run.reading.task)
    usual.reading = run.reading
    return usual


def _is_same(one: ClassReading, other: ClassReading) -> bool:
    """Whether readings are the same, whoever said so: the user or the step."""
    return replace(one, open=other.open) == other
