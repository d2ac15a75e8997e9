"""What an ensemble of checkpoints goes through in a run: gathered in a fit, fitted at its end, judged on test."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from lightning_posttrain.classification import ClassReading, EvalBatch
from lightning_posttrain.core.stream.evaluation import Evaluation
from lightning_posttrain.core.stream.ranks import sum_over_ranks
from lightning_posttrain.core.stream.replay import Replay
from lightning_posttrain.core.stream.stream import EvaluationStream
from lightning_posttrain.ensembles.fit import EnsembleFit
from lightning_posttrain.ensembles.fitting import Fitting, fit_together
from lightning_posttrain.ensembles.followers import Followers
from lightning_posttrain.ensembles.functional.strategies import STRATEGIES, check_strategies
from lightning_posttrain.ensembles.gathering import NO_VALIDATION, Gathering, rows_of, saved_steps
from lightning_posttrain.ensembles.judging import Judge
from lightning_posttrain.ensembles.judging_pass import JudgingPass, entry_of, table_of, table_of_pass
from lightning_posttrain.ensembles.kept_scores import RowScores
from lightning_posttrain.ensembles.member_sources import NO_CHECKPOINTS, MemberSources
from lightning_posttrain.ensembles.members.state import MemberState
from lightning_posttrain.ensembles.ready_members import ReadyMembers
from lightning_posttrain.ensembles.reporting import report_judged
from lightning_posttrain.ensembles.result import EnsembleReport

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule, Trainer


class EnsembleRun:
    """The state of one ``CheckpointEnsemble``.

    Args:
        sources: where the members come from.
        followers: callbacks that read what the ensemble says.
        strategies: names of those that are fitted, or None for all.
        soups: whether members' weights are averaged.
        folds: of the cross-fitting.
        forward_fn: from the module and inputs to scores, or None.

    Attributes:
        fit: what was fitted.
    """

    def __init__(
        self,
        sources: MemberSources,
        followers: Followers,
        *,
        strategies: Sequence[str] | None,
        soups: bool,
        folds: int,
        forward_fn: Callable[[Any, Any], Any] | None,
    ) -> None:
        if strategies is not None:
            check_strategies(strategies)
        self.sources = sources
        self.followers = followers
        self._strategies = tuple(STRATEGIES) if strategies is None else tuple(strategies)
        self._soups, self._folds, self.forward_fn = soups, folds, forward_fn
        self.fit: EnsembleFit | None = None
        self._gathering = Gathering()
        self._last: Evaluation | None = None
        self.end()

    def end(self) -> None:
        """A run is over, or begins: no member's weights, and nothing of an epoch."""
        self._fits: Trainer | None = None
        self._ready: ReadyMembers | None = None
        self._rows: RowScores | None = None
        self._judges: dict[str, Judge] = {}
        self._gathering.abandon()

    def start(self, trainer: Trainer, module: LightningModule, stage: str, fit: EnsembleFit | None) -> None:
        """Begin a run, with what was fitted in another one."""
        self.end()
        self.fit = None if stage == "fit" else fit
        if stage == "fit":
            self._gathering, self._last = Gathering(), None
        self.followers.start(trainer, module, stage)

    def open(self, trainer: Trainer, module: LightningModule, reading: ClassReading) -> bool:
        """Begin an epoch; whether members are run in it. All ranks together."""
        self.end()
        if trainer.state.fn == "fit":
            self._fits = trainer
            return False
        self._ready = self.sources.ready(trainer, module, self.fit)
        if self._ready is None:
            EvaluationStream.of(trainer).say_once(NO_CHECKPOINTS)
            return False
        self.fit = self._ready.fit or self.fit
        self.followers.open(trainer, module, reading)
        return True

    def observe(self, key: str, batch: EvalBatch) -> None:
        """Keep the scores of a validation in a fit; of several loaders those of the first."""
        if self._fits is not None and key == "val":
            self._gathering.add(self._fits, batch)

    def see(self, trainer: Trainer, module: LightningModule) -> None:
        """Note which weights a validation in a fit judges."""
        if self._fits is not None and trainer.validating and not trainer.sanity_checking:
            self._gathering.note(module)

    def replay(self, key: str, batch: EvalBatch, again: Replay, reading: ClassReading) -> None:
        """Run the members on a batch; of several validation loaders on those of the first."""
        trainer, ready = again.module.trainer, self._ready
        if ready is None or key.startswith("val/"):
            return
        _check_fit(ready.fit, batch.num_classes, key)
        batches = ready.members.scores(trainer, again.module, again, batch, forward_fn=self.forward_fn)
        if key == "val":
            self._rows = self._rows or rows_of(trainer, len(batches), batch.num_classes, labels=batch.multilabel)
            self._rows.update(batches)
        else:
            found = self._judge(trainer, key, reading, reading.likeness(batch)).add(batches)
            self.followers.add(trainer, key, found[ready.shipped])

    def _judge(self, trainer: Trainer, key: str, reading: ClassReading, likeness: tuple[int, ...]) -> Judge:
        assert self._ready is not None
        if key not in self._judges:
            strategies, members = self._ready.strategies, (len(self._ready.states), self._ready.mixed)
            device = trainer.strategy.root_device
            self._judges[key] = Judge(reading, likeness, strategies=strategies, members=members, device=device)
        return self._judges[key]

    def summarize(
        self, module: LightningModule, evaluation: Evaluation, reading: ClassReading
    ) -> EnsembleReport | None:
        """What members and strategies amount to; of the validations of a fit nothing, before it ends."""
        trainer, ready, columns = module.trainer, self._ready, len(evaluation.names)
        if trainer.state.fn == "fit" and evaluation.key == "val":
            self._last = evaluation
            self._gathering.end(trainer, columns, task=reading.task, saved=partial(saved_steps, trainer))
        if ready is None or evaluation.key.startswith("val/"):
            return None
        if evaluation.stage == "val":
            return self._fit_to(trainer, module, ready.states, reading, columns)
        judge = self._judge(trainer, evaluation.key, reading, (columns, 0))
        sum_over_ranks(trainer, judge.metrics)
        self.followers.report(trainer, module, evaluation)
        return report_judged(judge, ready.strategies, ready.states, ready.fit)

    def finish(
        self, trainer: Trainer, module: LightningModule, reading: ClassReading
    ) -> tuple[Evaluation, EnsembleReport] | None:
        """Fit the strategies at the end of a fit, and report them with its last validation; all ranks together."""
        if self._last is None:
            EvaluationStream.of(trainer).say_once(NO_VALIDATION)
            return None
        states = self.sources.found(trainer, module, self._gathering.losses())
        if not states:
            EvaluationStream.of(trainer).say_once(NO_CHECKPOINTS)
            return None
        report = self._fit_to(trainer, module, states, reading, len(self._last.names))
        self._gathering = Gathering()
        return self._last, report

    def _fit_to(
        self,
        trainer: Trainer,
        module: LightningModule,
        states: Sequence[MemberState],
        reading: ClassReading,
        columns: int,
    ) -> EnsembleReport:
        """Fit the strategies to members, and keep that; all ranks together."""
        on, labels = self.sources.on, reading.task == "multilabel"
        judging = JudgingPass(trainer, module, reading, columns=columns, on=on, forward_fn=self.forward_fn)
        if trainer.state.fn == "fit":
            table = table_of(trainer, states, self._gathering, judging)
        else:
            table = table_of_pass(trainer, self._rows, members=len(states), columns=columns, labels=labels)
        folder, entry = self.sources.folder(trainer, states), entry_of(trainer, reading)
        fitting = Fitting(reading, self._strategies, folds=self._folds, folder=folder, entry=entry)
        self.fit, report = fit_together(fitting, states, table, judging, soups=self._soups)
        if trainer.is_global_zero:
            self._write(self.fit)
        return report

    @staticmethod
    def _write(fit: EnsembleFit) -> None:
        """Keep a fit beside its members; where that cannot be, it is known in this process alone."""
        assert fit.folder is not None
        try:
            fit.write(fit.folder)
        except OSError as error:
            warnings.warn(
                f"CheckpointEnsemble could not write its fit: {error} A test in this process has it, one in another "
                "process will not.",
                stacklevel=2,
            )


def _check_fit(fit: EnsembleFit | None, columns: int, key: str) -> None:
    """Raise where a fit is for another number of classes."""
    if fit is not None and fit.columns != columns:
        raise ValueError(
            f"the ensemble was fitted to {fit.columns} classes and {key} has {columns}. Run validate on the same task, "
            "which fits anew."
        )
