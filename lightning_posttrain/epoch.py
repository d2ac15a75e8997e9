"""One epoch of one stage: what has been read of each of its loaders."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from lightning_posttrain.accumulator import Accumulator
from lightning_posttrain.batch import EvalBatch
from lightning_posttrain.evaluation import Evaluation
from lightning_posttrain.loaders import RowCounter, Rows
from lightning_posttrain.metrics import EvaluationMetric
from lightning_posttrain.reading import Reading
from lightning_posttrain.results import Result
from lightning_posttrain.tasks import to_logits, to_rows

Place = tuple[int, Reading]


@dataclass(frozen=True, eq=False)
class Given:
    """Targets of a batch as the loader gave them and as they are read, and its inputs."""

    target: Any
    indices: Tensor
    inputs: Any

    @property
    def shape(self) -> torch.Size:
        """That of the targets as the loader gave them."""
        return self.target.shape if isinstance(self.target, Tensor) else self.indices.shape


class Part:
    """What has been accumulated for one loader under one reading."""

    def __init__(
        self, num_classes: int, kinds: Iterable[type[EvaluationMetric]], device: torch.device, task: str
    ) -> None:
        labels = task == "multilabel"
        with torch.inference_mode(False):  # a state made in inference mode could not be changed outside it
            self.metrics = {
                kind: kind(num_classes, multilabel=labels, sync_on_compute=False).to(device)
                for kind in dict.fromkeys(kinds)
            }
        self.num_classes = num_classes
        self.independent = True
        self.seen = torch.zeros((), dtype=torch.float64 if device.type != "mps" else torch.float32, device=device)
        self.accumulator = Accumulator(self.metrics.values(), num_classes, multilabel=labels)

    def watch(self, batch: EvalBatch) -> None:
        """Keep a sum that is the same on another rank if that reads the same rows."""
        self.seen += batch.scores.nan_to_num(0.0, 0.0, 0.0).to(self.seen.dtype).sum() + len(batch.scores)

    def results(self) -> dict[type[EvaluationMetric], Result]:
        """What the metrics amount to."""
        return {kind: metric.report(metric.states()) for kind, metric in self.metrics.items()}


@dataclass(eq=False)
class Epoch:
    """The state of one epoch."""

    given: dict[Reading, Given] = field(default_factory=dict)
    counters: dict[int, RowCounter] = field(default_factory=dict)
    parts: dict[Place, Part] = field(default_factory=dict)
    finished: dict[Reading, list[Evaluation]] | None = None


def eval_batch(scores: Tensor, given: Given, rows: Rows, reading: Reading) -> EvalBatch:
    """A batch in the one form that metrics read; positions of a segmentation are rows of their own."""
    logits = to_logits(scores, reading.task, reading.scores, given.indices.shape)
    flat, target = to_rows(logits, given.indices.to(scores.device), reading.task)
    valid = rows.valid
    if valid is not None:
        each = len(flat) // len(valid)
        valid = valid.repeat_interleave(each) if each > 1 else valid
        valid = valid[:, None].expand(target.shape) if target.ndim == 2 else valid
    if reading.ignore_index is not None:
        kept = target != reading.ignore_index
        valid = kept if valid is None else valid & kept
    index = rows.index if len(flat) == len(scores) else None
    return EvalBatch(flat, target, valid, index, given.inputs, None if len(flat) == len(scores) else len(scores))
