"""What is accumulated of one loader of a classifier."""

from __future__ import annotations

from dataclasses import replace

import torch

from lightning_posttrain.classification.accumulator import Accumulator
from lightning_posttrain.classification.batch import EvalBatch
from lightning_posttrain.classification.metric.base import EvaluationMetric
from lightning_posttrain.classification.result.confusion import Confusion
from lightning_posttrain.classification.result.scores import ScoreRows
from lightning_posttrain.core.output.result import Result
from lightning_posttrain.core.stream.metric import StreamMetric
from lightning_posttrain.core.stream.reading import Kinds


class ClassPart:
    """What has been accumulated of one loader.

    Args:
        likeness: ``C``, or the number of labels, and the class that is ignored, counted from 1, else 0.
        kinds: of metrics.
        device: where the scores are.
        labels: whether each row has any number of labels.
    """

    def __init__(self, likeness: tuple[int, ...], kinds: Kinds, device: torch.device, *, labels: bool) -> None:
        num_classes, ignored = likeness
        # a state made in inference mode could not be changed outside it, and one made elsewhere would have to be copied
        with torch.inference_mode(False), device:
            self.metrics = {kind: _made(kind, num_classes, labels=labels).to(device) for kind in dict.fromkeys(kinds)}
        self.likeness = likeness
        self.ignored = (ignored - 1,) if ignored else ()
        for metric in self.metrics.values():
            metric.ignored = self.ignored
        self.independent = True
        self.seen = torch.zeros((), dtype=torch.float64 if device.type != "mps" else torch.float32, device=device)
        self._accumulator = Accumulator(self.metrics.values(), num_classes, multilabel=labels)

    def add(self, batch: EvalBatch) -> None:
        """Fold a batch."""
        self.independent = self.independent and batch.samples is None
        self._accumulator.add(batch)

    def flush(self) -> None:
        """Bring all that was gathered into the metrics."""
        self._accumulator.flush()

    def watch(self, batch: EvalBatch) -> None:
        """Keep a sum that is the same on another rank if that reads the same rows."""
        self.seen += batch.scores.nan_to_num(0.0, 0.0, 0.0).to(self.seen.dtype).sum() + len(batch.scores)

    def results(self) -> dict[type[StreamMetric], Result]:
        """What the metrics amount to."""
        found = {kind: metric.report(metric.states()) for kind, metric in self.metrics.items()}
        return {kind: self._marked(result) for kind, result in found.items()}

    def _marked(self, result: Result) -> Result:
        if isinstance(result, (Confusion, ScoreRows)):
            return replace(result, ignored=self.ignored)
        return result


def _made(kind: type[StreamMetric], num_classes: int, *, labels: bool) -> EvaluationMetric:
    if not issubclass(kind, EvaluationMetric):
        raise TypeError(
            f"`metrics` has {kind.__name__}, wanted metrics of class scores: subclasses of EvaluationMetric."
        )
    return kind(num_classes, multilabel=labels, sync_on_compute=False)
