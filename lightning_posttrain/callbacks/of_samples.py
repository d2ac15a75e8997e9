"""What callbacks share that explain a few samples of an epoch."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Callable
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from lightning_posttrain.attribution.explainer import Display
from lightning_posttrain.attribution.targets import Explain, Output
from lightning_posttrain.batch import EvalBatch
from lightning_posttrain.callbacks.asking import Asking
from lightning_posttrain.callbacks.base import StreamCallback
from lightning_posttrain.callbacks.case import Case, check_layer
from lightning_posttrain.callbacks.choosing import Choosing
from lightning_posttrain.evaluation import Evaluation
from lightning_posttrain.fields import find_only_inputs
from lightning_posttrain.loaders import dataset_classes, named_loaders, stage_of
from lightning_posttrain.results import Result


class OfSamples(StreamCallback):
    """Chooses samples while an epoch goes by, and explains them when it is due.

    A final class sets these, and says when it is ``due`` and how a case is ``explained``.
    """

    explain: Explain | Output
    layer: str | None = None
    _choosing: Choosing
    _asking: Asking
    _display: Display

    @abstractmethod
    def due(self, epoch: int) -> bool:
        """Whether samples are explained after the epoch of this number, from 1, of a fit."""

    @abstractmethod
    def explained(self, case: Case | None, trainer: Trainer) -> Result | None:
        """The result of a case; all ranks together."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Join the stream; samples are chosen anew in each run."""
        super().setup(trainer, pl_module, stage)
        self._names: tuple[str, ...] = ()
        self._pending: dict[str, tuple[Case | None, int]] = {}
        self._choosing.forget()
        self._asking.forget()

    def takes(self, trainer: Trainer) -> bool:
        """A function of the output needs no class scores."""
        return not callable(self.explain) and super().takes(trainer)

    def check(self, module: LightningModule, batch: EvalBatch) -> None:
        """Raise for a layer that is not there; say once that the inputs cannot be explained."""
        super().check(module, batch)
        check_layer(module, self.layer)
        given = (dataset_classes(loader, batch.num_classes) for _, loader, _ in named_loaders(module.trainer))
        self._names = self.class_names or next(filter(None, given), tuple(map(str, range(batch.num_classes))))
        if self._choosing.can(batch.inputs, len(batch.target)):
            self._display.check(batch.inputs)

    def _draws_nothing(self, reason: str) -> None:
        warnings.warn(f"{type(self).__name__} draws nothing: {reason}", stacklevel=2)

    def observe(self, key: str, batch: EvalBatch) -> None:
        """Choose samples."""
        self._choosing.offer(key, batch, self._names)

    def see(self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, loader: int) -> None:
        """Choose samples where a function of the output is explained."""
        if not callable(self.explain) or stage_of(trainer) not in self.stages:
            return
        inputs = find_only_inputs(batch, self.reading.inputs_fn)
        if self._choosing.can(inputs) and not trainer.sanity_checking:
            suffix, source, _ = named_loaders(trainer)[loader]
            self.look(stage_of(trainer) + suffix, inputs, source)

    def look(self, key: str, inputs: Tensor, loader: Any) -> None:
        """Look at inputs of a loader that have no classes."""
        self._choosing.take(key, inputs, loader)

    def evaluations(self, trainer: Trainer, module: LightningModule) -> list[Evaluation]:
        """What the stream has read; for a function of the output, the loaders."""
        if not callable(self.explain):
            return super().evaluations(trainer, module)
        stage = stage_of(trainer)
        if stage not in self.stages:
            return []
        check_layer(module, self.layer)
        found = [(suffix, dataset_classes(loader)) for suffix, loader, _ in named_loaders(trainer)]
        return [Evaluation(stage, suffix, 0, names, {}, True, module) for suffix, names in found]

    def summarize(self, module: LightningModule, evaluation: Evaluation, names: tuple[str, ...]) -> Result | None:
        """Explain the samples where it is due; the last of a fit are explained at its end in any case."""
        trainer, key = module.trainer, evaluation.key
        case = self._case(module, evaluation, names)
        if case is not None and not callable(self.explain):
            self._asking.check(case, trainer)
        in_fit = trainer.state.fn == "fit"
        due = not in_fit or self.due(trainer.current_epoch + 1)
        if in_fit:
            # the step that it was explained at; none if not
            self._pending[key] = (case, trainer.global_step if due else -1)
        return self.explained(case, trainer) if due else None

    def _case(self, module: LightningModule, evaluation: Evaluation, names: tuple[str, ...]) -> Case | None:
        choosing, key = self._choosing, evaluation.key
        chosen = choosing.chosen(key)
        kept = (choosing.fixed(key), choosing.of_classes(key), choosing.rows)
        return None if chosen is None else Case(module, evaluation, names, chosen, *kept)

    def last(self, trainer: Trainer, explain: Callable[[Case | None, Trainer], Result | None]) -> Any:
        """At the end of a fit: each case, its result, and whether that is new; all ranks together."""
        for key, (case, step) in self._pending.items():
            done = step == trainer.global_step
            result = self.results.get(key) if done else explain(case, trainer)
            if result is not None and case is not None and trainer.is_global_zero:
                yield case, result, not done
        self._pending = {}
