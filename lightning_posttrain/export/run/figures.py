"""The report of a classifier, of probabilities that a model outside of the step gives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from lightning_posttrain.classification import ClassificationMetrics, ClassReading, EvalBatch
from lightning_posttrain.core.capture.foreign import attribute
from lightning_posttrain.core.stream.evaluation import Evaluation
from lightning_posttrain.core.stream.reading import Part

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule, Trainer


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

    def report(self, module: LightningModule, evaluation: Evaluation) -> Any:
        """The report, of the loader of an evaluation."""
        part = self.part((len(evaluation.names), 0))
        part.flush()
        found = Evaluation(
            evaluation.stage, evaluation.suffix, evaluation.names, part.results(), part.independent
        )  # none of the module's own figures, which are of other scores
        return self._metrics.summarize(module, found, evaluation.names)


def metrics_of(trainer: Trainer, reading: ClassReading) -> ClassificationMetrics:
    """Which figures: those of the ``ClassificationMetrics`` of the Trainer that reads so, else the usual ones."""
    callbacks = attribute(trainer, "callbacks", ())
    known = [each for each in callbacks if isinstance(each, ClassificationMetrics)]
    found = next((part for each in known for part in each.parts() if part.reading == reading), None)
    if found is not None:
        return found  # type: ignore[no-any-return]
    usual = ClassificationMetrics(task=reading.task)
    usual.reading = reading
    return usual
