"""What callbacks share that explain a few samples of an epoch."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from lightning_posttrain.core.callback.board import monitored
from lightning_posttrain.core.callback.callback import EvaluationCallback
from lightning_posttrain.core.callback.overhead import affords
from lightning_posttrain.core.capture.loaders import Rows, dataset_classes, named_loaders, stage_of
from lightning_posttrain.core.capture.target_and_inputs import find_only_inputs
from lightning_posttrain.core.output.result import Result
from lightning_posttrain.core.stream.evaluation import Evaluation
from lightning_posttrain.core.stream.stream import EvaluationStream
from lightning_posttrain.samples.batch import ScoredBatch
from lightning_posttrain.samples.inputs import Inputs
from lightning_posttrain.samples.learning import learn_inputs
from lightning_posttrain.samples.model_access import ModelAccess
from lightning_posttrain.samples.sample_set import SampleSet, check_layer
from lightning_posttrain.samples.selection import Selection
from lightning_posttrain.samples.targets import Explain, Output


class SampleCallback(EvaluationCallback):
    """Chooses samples while an epoch goes by, and explains them when it is due.

    A final class sets these, and says how chosen samples are ``explained``.
    """

    charted = ()
    names_samples = True
    explain: Explain | Output
    layer: str | None = None
    every_n_epochs: int | None = None
    """After which epochs of a fit samples are explained beside its end; None for none."""
    _selection: Selection
    _access: ModelAccess
    _display: Inputs

    def due(self, epoch: int) -> bool:
        """Whether samples are explained after the epoch of this number, from 1, of a fit."""
        return self.every_n_epochs is not None and epoch % self.every_n_epochs == 0

    @abstractmethod
    def explained(self, sample_set: SampleSet | None, trainer: Trainer) -> Result | None:
        """The result of chosen samples; all ranks together."""

    def start(self, trainer: Trainer, module: LightningModule, stage: str) -> None:
        """Begin a run; samples are chosen anew in each."""
        self._names: tuple[str, ...] = ()
        self._pending: dict[str, tuple[SampleSet | None, int]] = {}
        self._learned: set[str] = set()
        self._selection.forget()
        self._access.forget()

    @property
    def of_classes(self) -> bool:
        """Whether class scores are explained; a function of the output needs none."""
        return not callable(self.explain)

    def takes(self, trainer: Trainer) -> bool:
        """Where class scores are explained."""
        return self.of_classes and super().takes(trainer)

    def check(self, module: LightningModule, batch: ScoredBatch) -> None:
        """Raise for a layer that is not there; say once that the inputs cannot be explained."""
        super().check(module, batch)
        check_layer(module, self.layer)
        given = (dataset_classes(loader, batch.num_classes) for _, loader, _ in named_loaders(module.trainer))
        self._names = self.names(next(filter(None, given), tuple(map(str, range(batch.num_classes)))))
        if self._selection.can(batch.inputs, len(batch.target)):
            learn_inputs(self, module.trainer, batch.inputs)
            self._display.check(batch.inputs)

    def _draws_nothing(self, reason: str) -> None:
        warnings.warn(f"{type(self).__name__} draws nothing: {reason}", stacklevel=2)

    def observe(self, key: str, batch: ScoredBatch) -> None:
        """Choose samples."""
        self._selection.offer(key, batch, self._names)

    def see(self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, loader: int) -> None:
        """Choose samples where no class scores are explained; count what is trained on."""
        if trainer.training:
            self._access.limit.see(batch, self._selection.rows)
        if self.of_classes or stage_of(trainer) not in self.stages:
            return
        find = partial(find_only_inputs, inputs_fn=self.reading.inputs_fn)
        inputs = find(batch)
        if self._selection.can(inputs) and not trainer.sanity_checking:
            suffix, source, _ = named_loaders(trainer)[loader]
            key, positions = stage_of(trainer) + suffix, EvaluationStream.of(trainer).positions
            if key not in self._learned:
                self._learned.add(key)
                learn_inputs(self, trainer, inputs)
            prove = partial(positions.proven, trainer, source, came=inputs, read=find, key=key)
            self.look(key, inputs, source, prove)

    def look(self, key: str, inputs: Tensor, loader: Any, prove: Callable[[Rows], Rows]) -> None:
        """Look at inputs of a loader that have no classes."""
        self._selection.take(key, inputs, loader, prove)

    def evaluations(self, trainer: Trainer, module: LightningModule) -> list[Evaluation]:
        """What the stream has read; where no class scores are explained, the loaders."""
        if self.of_classes:
            return super().evaluations(trainer, module)
        stage = stage_of(trainer)
        if stage not in self.stages:
            return []
        check_layer(module, self.layer)
        found = [(suffix, dataset_classes(loader)) for suffix, loader, _ in named_loaders(trainer)]
        return [Evaluation(stage, suffix, names or (), {}, True) for suffix, names in found]

    def summarize(self, module: LightningModule, evaluation: Evaluation, names: tuple[str, ...]) -> Result | None:
        """Explain the samples where it is due; the last of a fit are explained at its end in any case."""
        trainer, key = module.trainer, evaluation.key
        sample_set = self._case(module, evaluation, names)
        if sample_set is not None and self.of_classes:
            self._access.check(sample_set, trainer)
        in_fit = trainer.state.fn == "fit"
        due = not in_fit or (self.due(trainer.current_epoch + 1) and self._has_room(trainer))
        if in_fit:
            # the step that it was explained at; none if not
            self._pending[key] = (sample_set, trainer.global_step if due else -1)
        if not due:
            return None
        with EvaluationStream.of(trainer).costs.explaining(self.action, self.max_overhead):
            return self.explained(sample_set, trainer)

    def _has_room(self, trainer: Trainer) -> bool:
        """Whether the run has room for an explanation; one with figures that somebody monitors is never left out."""
        return affords(trainer, self.max_overhead) or bool(self._reporter.logged & set(monitored(trainer)))

    def _case(self, module: LightningModule, evaluation: Evaluation, names: tuple[str, ...]) -> SampleSet | None:
        selection, key = self._selection, evaluation.key
        chosen = selection.chosen(key)
        kept = (selection.fixed(key), selection.of_classes(key), selection.rows)
        return None if chosen is None else SampleSet(module, evaluation, names, chosen, *kept)

    def last(self, trainer: Trainer, explain: Callable[[SampleSet | None, Trainer], Result | None]) -> Any:
        """At the end of a fit: each case, its result, and whether that is new; all ranks together."""
        for sample_set, step in self._pending.values():
            done = step == trainer.global_step  # the same on all ranks, also on those without samples
            label = sample_set.evaluation.label if sample_set is not None else ""
            result = self.results.get(label) if done else explain(sample_set, trainer)
            if result is not None and sample_set is not None and trainer.is_global_zero:
                yield sample_set, result, not done
        self._pending = {}
