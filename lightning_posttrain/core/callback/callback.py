"""The base of every callback: joins the evaluation stream, logs, draws, and never costs a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal

import torch
from lightning.pytorch import LightningModule, Trainer

from lightning_posttrain.core.callback.board import announce_final_metrics, draw_at_a_glance, lay_out_charts
from lightning_posttrain.core.callback.charts import patterns
from lightning_posttrain.core.callback.counted import counted
from lightning_posttrain.core.callback.looking import Looks
from lightning_posttrain.core.callback.namespaces import AnyCallback
from lightning_posttrain.core.callback.open_epoch import CarriesOpenEpoch
from lightning_posttrain.core.callback.options import at_least, one_of
from lightning_posttrain.core.callback.overhead import SHARE, conclude
from lightning_posttrain.core.callback.reporting import Reporter
from lightning_posttrain.core.callback.reports import Reports
from lightning_posttrain.core.callback.returned import Returns
from lightning_posttrain.core.callback.run_notes import NotesRun
from lightning_posttrain.core.callback.scalars import taken_names
from lightning_posttrain.core.callback.target_copies import TargetCopies
from lightning_posttrain.core.capture.loaders import Stage, stage_of
from lightning_posttrain.core.stream.booking import CALLBACK
from lightning_posttrain.core.stream.evaluation import Evaluation, Needs
from lightning_posttrain.core.stream.reading import Reading
from lightning_posttrain.core.stream.stream import EvaluationStream


class EvaluationCallback(Looks, CarriesOpenEpoch, NotesRun, Reports, Returns, TargetCopies, AnyCallback):
    """Base of all callbacks that read the evaluation stream, of whatever family.

    Args:
        reading: how a batch is read.
        name: goes before the quantity in tags and file names, ``val/<name>/accuracy``; for two of a kind.
        stages: which of ``"train"``, ``"val"`` and ``"test"``.
        on_error: ``"warn"``: what goes wrong is said once, with what is left out for it, and the run goes on.
            ``"raise"``: it ends the run. A configuration that would give wrong figures raises in any case, as long as
            nothing has been trained.
        pictures_every: loggers get pictures and tables of each so many-th evaluation of a fit, with 1 of all; always of
            the first and the last. Default: of about 20, spread over ``max_epochs``. Files are the latest drawn.
        log: which scalars loggers and the table of a test get, by what follows the stage in their tags, with ``*`` for
            any letters. Default: the few that one follows. The others can be monitored, and stand in files.
        max_overhead: share of a fit's seconds that optional work takes at most, see ``StreamCallback``.

    Attributes:
        results: the last result of each stage by ``"val"`` and ``"test"``, and ``"val/dataloader_1"`` for a
            second dataloader; the same on every rank, except for explanations, which are made on the first.
    """

    tag: ClassVar[str]
    names_samples: bool = False
    """Whether it needs positions in the dataset, which are proven for who does and told to nobody else."""
    asks_again: bool = False
    """Whether it asks the module for each batch again, with other weights."""

    def __init__(
        self,
        reading: Reading,
        *,
        name: str | None,
        stages: Sequence[Stage],
        on_error: Literal["warn", "raise"],
        pictures_every: int | None = None,
        log: Sequence[str] | None = None,
        max_overhead: float | None = SHARE,
    ) -> None:
        super().__init__()
        one_of("on_error", on_error, ("warn", "raise"))
        self.stages: tuple[str, ...] = (stages,) if isinstance(stages, str) else tuple(stages)
        for stage in self.stages:
            one_of("stages", stage, ("train", "val", "test"))
        if pictures_every is not None:
            at_least("pictures_every", pictures_every, 1)
        if max_overhead is not None:
            at_least("max_overhead", max_overhead, 0.0)
        self.reading = reading
        self.name = name
        self.on_error = on_error
        self.pictures_every = pictures_every
        self.chosen = patterns(log)  # Lightning gives each callback a method `log`
        self.results: dict[str, Any] = {}
        self.action = f"{CALLBACK}{self.state_key}"
        self.max_overhead = max_overhead
        self._reporter = Reporter(self)

    @property
    def slot(self) -> tuple[str, str | None]:
        """What its tags begin with."""
        return type(self).__name__, self.name

    @property
    def state_key(self) -> str:
        """Tells two of a kind apart in a checkpoint."""
        return self._generate_state_key(name=self.name)

    # what a final callback says

    def metrics(self) -> Needs:
        """The metrics it needs of the stream."""
        return ()

    def check(self, module: LightningModule, batch: Any) -> None:
        """Raise where the arguments do not go with the first batch."""

    # hooks

    def takes(self, trainer: Trainer) -> bool:
        """Whether scores of the present stage are wanted; a sanity check counts as validation."""
        return stage_of(trainer) in self.stages

    def start(self, trainer: Trainer, module: LightningModule, stage: str) -> None:
        """Begin a run, ``stage`` of which is as Lightning's ``setup`` has it."""

    def finish(self, trainer: Trainer, module: LightningModule) -> None:
        """End a fit; all ranks together."""

    def release(self, trainer: Trainer) -> None:
        """Let go of what was held for a run, which has ended or failed."""

    def hears(self, trainer: Trainer) -> bool:
        """Whether what reaches losses and metrics in the present stage is wanted; for what reads no scores."""
        return False

    def hears_calls(self, trainer: Trainer) -> bool:
        """Whether the networks that the next step calls are wanted, and what it gives to them."""
        return False

    def open(self, trainer: Trainer, module: LightningModule) -> None:
        """Begin an epoch; for what reads no scores."""

    def evaluations(self, trainer: Trainer, module: LightningModule) -> list[Evaluation]:
        """What there is to report at the end of an epoch; all ranks together."""
        found = EvaluationStream.of(trainer).finish(trainer, module, self.reading) if self.takes(trainer) else []
        known = [evaluation for evaluation in found if not evaluation.resumed or self.counts_open_epoch()]
        return [replace(evaluation, target=self._of_target) for evaluation in known]

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Join the stream."""
        if stage in ("fit", "validate", "test"):
            EvaluationStream.of(trainer).join(self, trainer)
        self.reading = self.said  # until a step of this run has told
        self.attempt_each("begin a run", trainer, lambda part: part.start(trainer, pl_module, stage))
        if stage == "fit" and EvaluationStream.of(trainer).leads(self):
            with self.guarded(trainer, "name the final metrics", "TensorBoard's HParams page shows hp_metric."):
                announce_final_metrics(trainer, pl_module)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Leave the stream. All is written when the first callback leaves, before the loggers are closed."""
        self.attempt(trainer, "let go of a run", self.release, trainer)
        EvaluationStream.of(trainer).leave(self)
        self.go_home(trainer)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Leave the stream; Lightning calls no ``teardown`` then, and closes the loggers after this."""
        self.attempt(trainer, "let go of a run", self.release, trainer)
        EvaluationStream.of(trainer).leave(self, failed=True)

    @counted
    def _begin(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if (stream := EvaluationStream.of(trainer)).leads(self):
            stream.begin(trainer, pl_module)
        self.attempt_each("begin an epoch", trainer, lambda part: part.open(trainer, pl_module))

    def _listen(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        if (stream := EvaluationStream.of(trainer)).leads(self):
            stream.listen(trainer, pl_module, batch, dataloader_idx)

    def _add(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if (stream := EvaluationStream.of(trainer)).leads(self):
            stream.add(trainer, pl_module, outputs, batch, dataloader_idx)
        if self.does("see") and stage_of(trainer) not in self.out:
            step = (trainer, pl_module, outputs, batch, dataloader_idx)
            self.attempt(trainer, "look at a step", self.see, *step, configures=True)

    @counted
    def _report(self, trainer: Trainer, pl_module: LightningModule) -> None:
        stage = stage_of(trainer)
        if not trainer.sanity_checking and stage in self.stages:
            # a program may go on with the tensors of a result
            with torch.inference_mode(False), torch.no_grad():
                for part in self.parts():
                    part._report_all(trainer, pl_module, also_out=self.out)
        for part in (self, *self.targets.values()):
            part.out.discard(stage)

    @counted
    def _end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if (stream := EvaluationStream.of(trainer)).leads(self):
            if trainer.sanity_checking:
                taken_names(trainer)
            else:
                self.note_evaluation(trainer, pl_module)
                if trainer.state.fn != "fit":
                    conclude(trainer, self._reporter)
            stream.end(trainer)

    @counted
    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Report what was read in training; the last of all callbacks ends the epoch."""
        self._report(trainer, pl_module)
        if (stream := EvaluationStream.of(trainer)).ends(self):
            with self.guarded(trainer, "lay out the charts", "Each scalar has a chart of its own."):
                lay_out_charts(trainer, self._reporter)
                draw_at_a_glance(trainer, self._reporter)
            stream.end(trainer)

    @counted
    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Explain what waited for the end of the fit."""
        if EvaluationStream.of(trainer).leads(self):
            self.note_training(trainer, pl_module, ended=True)
            conclude(trainer, self._reporter)
        for part in self.parts():
            part.attempt(trainer, "finish", part.finish, trainer, pl_module)

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Any) -> None:
        """Hear nothing of what runs once more for gradients, as checkpointed parts do."""
        if (stream := EvaluationStream.of(trainer)).leads(self):
            stream.pause(paused=True)

    def on_after_backward(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Hear the rest of a step that works out its own gradients."""
        if (stream := EvaluationStream.of(trainer)).leads(self):
            stream.pause(paused=False)

    on_validation_start = on_test_start = _begin
    on_validation_batch_start = on_test_batch_start = _listen
    on_train_batch_end = on_validation_batch_end = on_test_batch_end = _add
    on_validation_epoch_end = on_test_epoch_end = _report
    on_validation_end = on_test_end = _end
