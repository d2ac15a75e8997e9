"""The report of a classifier, of probabilities that a model outside of the step gives."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from lightning_posttrain.classification import ClassificationMetrics, ClassReading, EvalBatch
from lightning_posttrain.core.capture.foreign import attribute
from lightning_posttrain.core.stream.evaluation import Evaluation
from lightning_posttrain.core.stream.metric import StreamMetric
from lightning_posttrain.core.stream.reading import Part

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule, Trainer


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
        self.part(self._metrics.reading.likeness(batch)).add(batch)

    def part(self, likeness: tuple[int, ...]) -> Part:
        """What is accumulated, of batches with a likeness."""
        if self._part is None:
            with torch.inference_mode(False):
                self._part = self._metrics.reading.part(likeness, self._metrics.metrics(), torch.device("cpu"))
        return self._part

    def states(self, likeness: tuple[int, ...], device: torch.device) -> list[StreamMetric]:
        """The metrics, all that was gathered in them, on a device where ranks can add them."""
        part = self.part(likeness)
        part.flush()
        return [metric.to(device) for metric in part.metrics.values()]

    def report(self, module: LightningModule, evaluation: Evaluation) -> Any:
        """The report, of the loader of an evaluation."""
        part = self.part((len(evaluation.names), 0))
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


def metrics_of(trainer: Trainer, reading: ClassReading) -> ClassificationMetrics:
    """Which figures: those of the ``ClassificationMetrics`` of the Trainer that reads so, else the usual ones."""
    callbacks = attribute(trainer, "callbacks", ())
    known = [each for each in callbacks if isinstance(each, ClassificationMetrics)]
    found = next((part for each in known for part in each.parts() if _is_same(part.reading, reading)), None)
    if found is not None:
        return found  # type: ignore[no-any-return]
    usual = ClassificationMetrics(task=reading.task)
    usual.reading = reading
    return usual


def _is_same(one: ClassReading, other: ClassReading) -> bool:
    """Whether readings are the same, whoever said so: the user or the step."""
    return replace(one, open=other.open) == other
