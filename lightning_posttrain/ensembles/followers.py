"""Callbacks that read the scores of an ensemble in place of the module's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from lightning_posttrain.classification import ClassReading, EvalBatch, StreamCallback
from lightning_posttrain.core.capture.loaders import stage_of
from lightning_posttrain.core.stream.evaluation import Evaluation
from lightning_posttrain.core.stream.ranks import any_rank, sum_over_ranks
from lightning_posttrain.core.stream.reading import Part
from lightning_posttrain.samples.callback import SampleCallback

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule, Trainer

NAME = "of_ensemble"


class Followers:
    """Gives callbacks what the stream would, of other scores.

    Args:
        callbacks: whose tags begin with ``of_ensemble/`` from here on.

    Raises:
        ValueError: one reads no scores, or asks the module itself.
    """

    def __init__(self, callbacks: Sequence[StreamCallback]) -> None:
        for callback in callbacks:
            if not isinstance(callback, StreamCallback) or isinstance(callback, SampleCallback) or callback.asks_again:
                raise ValueError(
                    f"`then` has a {type(callback).__name__}, wanted callbacks that read class scores, as "
                    "HardExamples() or ConfusionMatrix(). One that asks the model runs on network(model) in a "
                    "LightningModule."
                )
        self._callbacks = tuple(callbacks)
        for callback in self._callbacks:
            callback.rename(f"{NAME}/{callback.name}" if callback.name else NAME)
            callback.reads_members = True
        self._parts: dict[str, Part] = {}
        self._checked = False

    @property
    def names_samples(self) -> bool:
        """Whether one tells where samples stand in the dataset."""
        return any(callback.names_samples for callback in self._callbacks)

    def start(self, trainer: Trainer, module: LightningModule, stage: str) -> None:
        """Begin a run."""
        self._checked = False
        for callback in self._callbacks:
            callback.attempt(trainer, "begin a run", callback.start, trainer, module, stage)

    def open(self, trainer: Trainer, module: LightningModule, reading: ClassReading) -> None:
        """Begin an epoch."""
        self._parts = {}
        for callback in self._callbacks:
            callback.reading = reading
            callback.out.clear()
            callback.attempt(trainer, "begin an epoch", callback.open, trainer, module)

    def add(self, trainer: Trainer, key: str, batch: EvalBatch) -> None:
        """See a batch as the ensemble scores it."""
        if not self._callbacks:
            return
        likeness = self._callbacks[0].reading.likeness(batch)
        if key not in self._parts:
            self._parts[key] = self._part(trainer, likeness)
        self._parts[key].add(batch)
        for callback in self._callbacks:
            if not self._checked:
                callback.attempt(trainer, "check a batch", callback.check, trainer.lightning_module, batch)
            callback.attempt(trainer, "look at a batch", callback.observe, key, batch)
        self._checked = True

    def report(self, trainer: Trainer, module: LightningModule, evaluation: Evaluation) -> None:
        """Report what was read of a loader; all ranks together."""
        if not self._callbacks:
            return
        part = self._parts.get(evaluation.key) or self._part(trainer, (len(evaluation.names), 0))
        part.flush()
        sum_over_ranks(trainer, list(part.metrics.values()))
        with torch.inference_mode(False), torch.no_grad():
            results = part.results()
        found = Evaluation(evaluation.stage, evaluation.suffix, evaluation.names, results, part.independent)
        for callback in self._callbacks:
            (out,) = any_rank(trainer, [stage_of(trainer) in callback.out])
            if not out:
                callback.report_one(trainer, module, found)

    def go_home(self, trainer: Trainer) -> None:
        """Let callbacks of the main process know what those of a forked one have found."""
        for callback in self._callbacks:
            callback.go_home(trainer)

    def _part(self, trainer: Trainer, likeness: tuple[int, ...]) -> Part:
        needs = [callback.attempt(trainer, "name its metrics", callback.metrics) or () for callback in self._callbacks]
        kinds = [kind for kinds in needs for kind in kinds]
        return self._callbacks[0].reading.part(likeness, kinds, trainer.strategy.root_device)
