"""Checkpoints as members of an ensemble: fitted on validation, judged in one pass over the test."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, final

from lightning.pytorch import LightningModule, Trainer
from torch import nn
from typing_extensions import Unpack

from lightning_posttrain.classification import EvalBatch, EvaluationOptions, StreamCallback
from lightning_posttrain.core.callback.options import at_least, one_of
from lightning_posttrain.core.output.artifacts import Tagged
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
from lightning_posttrain.ensembles.members.state import MemberState
from lightning_posttrain.ensembles.network import EnsembleNetwork
from lightning_posttrain.ensembles.reporting import report_judged
from lightning_posttrain.ensembles.result import EnsembleReport
from lightning_posttrain.ensembles.wanted import NO_CHECKPOINTS, Standing, Wanted

Said = str | Path | nn.Module


@final
class CheckpointEnsemble(StreamCallback):
    """Combines the checkpoints of a run, or of several, and says whether that is worth it.

    At the end of a fit the members are the checkpoints that are on disk. Strategies to combine them are fitted on their
    validation scores, which the fit itself has given, and judged by cross-fitting, beside the best member alone.
    ``test`` runs every member on each batch that it reads, in one pass, and reports all strategies with 95 % intervals
    of the difference on the same samples. Nothing is fitted on test. Where no strategy is better by more than chance,
    it says so.

    What was fitted stands in ``ensemble/fit.pt`` beside the members, for ``test`` in another process.
    ``network(model)`` is the ensemble as a module. Members that were not judged in the fit, as those of other runs, are
    judged by ``validate``, in one pass, or at the end of the fit.

    Args:
        members: checkpoints: a glob, a folder, a path, a module of the same architecture, or a list of these. Default:
            those of the run's ``ModelCheckpoint``; in a new process those beside ``ckpt_path``.
        strategies: names of ``lightning_posttrain.ensembles.STRATEGIES``. Default: all. The best member alone is always
            among them.
        soups: also average the members' weights, uniformly and greedily (Wortsman et al., 2022, arXiv:2203.05482), with
            statistics of BatchNorm recomputed: one forward for a prediction; some further passes at the end of the fit.
        averages: whether averages of weights that a checkpoint holds beside its own, as those of
            ``StochasticWeightAveraging``, and the weights behind an exponential moving average, are members too.
        most: members at most; of more those with the lowest log loss, or the latest.
        folds: of the cross-fitting.
        on: where members' weights lie: ``"device"``, ``"cpu"``, from where each is copied in turn, or ``"auto"``:
            on the device while they take less than a quarter of what is free.
        forward_fn: from the module and inputs to scores, where the step does more than call the network.
        then: callbacks that read the scores of the ensemble on ``test``, as ``[HardExamples(), ConfusionMatrix()]``;
            their tags begin with ``ensemble/``. ``HardExamples`` also shows where members disagree most.
        **options: what every callback takes, see ``StreamCallback``.

    Example:
        >>> from lightning.pytorch import Trainer
        >>> from lightning.pytorch.callbacks import ModelCheckpoint
        >>> keep = ModelCheckpoint(monitor="val/log_loss", save_top_k=5)
        >>> trainer = Trainer(callbacks=[CheckpointEnsemble(), keep], logger=False)
    """

    tag = "ensemble"
    several_targets = False
    stays = ("_followers", "_gathering", "_judges")

    def __init__(
        self,
        *,
        members: Said | Sequence[Said] | None = None,
        strategies: Sequence[str] | None = None,
        soups: bool = False,
        averages: bool = True,
        most: int = 12,
        folds: int = 5,
        on: Literal["auto", "device", "cpu"] = "auto",
        forward_fn: Any = None,
        then: Sequence[StreamCallback] = (),
        **options: Unpack[EvaluationOptions],
    ) -> None:
        super().__init__(**options)
        if strategies is not None:
            check_strategies(strategies)
        at_least("most", most, 2)
        at_least("folds", folds, 2)
        one_of("on", on, ("auto", "device", "cpu"))
        self.wanted = Wanted(members, averages=averages, most=most, on=on)
        self.strategies = tuple(STRATEGIES) if strategies is None else tuple(strategies)
        self.soups, self.folds = soups, folds
        self.forward_fn = forward_fn
        self._followers = Followers(then)
        self.names_samples = self._followers.names_samples
        self.fit: EnsembleFit | None = None
        self._gathering = Gathering()
        self._standing: Standing | None = None
        self._rows: RowScores | None = None
        self._judges: dict[str, Judge] = {}
        self._last: Evaluation | None = None
        self._fits: Trainer | None = None

    def network(self, model: nn.Module, strategy: str | None = None) -> EnsembleNetwork:
        """The ensemble as one module, from inputs to log-probabilities; that of multilabel tasks to log-odds.

        Each member is called as in the step, or by ``forward_fn``, where that was given.

        Args:
            model: of the architecture of the members; it stays as it is.
            strategy: name of one; default: the one that is kept, else the best member alone.

        Raises:
            ValueError: nothing was fitted, or there is no such strategy.
        """
        if self.fit is None:
            raise ValueError("nothing was fitted. Run fit or validate before, or read EnsembleFit.read(folder).")
        return self.wanted.network(self.fit, model, strategy, self.forward_fn)

    def start(self, trainer: Trainer, module: LightningModule, stage: str) -> None:
        """Begin a run."""
        self._standing = None
        if stage == "fit":
            self._gathering, self.fit, self._last = Gathering(), None, None
        self._followers.start(trainer, module, stage)

    def open(self, trainer: Trainer, module: LightningModule) -> None:
        """Begin an epoch, with members where it is no fit's."""
        self._gathering.abandon()
        self._rows, self._judges, self._standing = None, {}, None
        self._fits = trainer if trainer.state.fn == "fit" and self.takes(trainer) else None
        self.asks_again = trainer.state.fn != "fit" and self.takes(trainer)
        if self.asks_again:
            self._standing = self.wanted.standing(trainer, module, self.fit)
            if self._standing is None:
                EvaluationStream.of(trainer).say_once(NO_CHECKPOINTS)
                return
            self.fit = self._standing.fit or self.fit
            self._followers.open(trainer, module, self.reading)

    def observe(self, key: str, batch: EvalBatch) -> None:
        """Keep the scores of a validation in a fit."""
        if self._fits is not None and key == "val":
            self._gathering.add(self._fits, batch)

    def see(self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, loader: int) -> None:
        """Note which weights a validation in a fit judges."""
        if self._fits is not None and not trainer.sanity_checking:
            self._gathering.note(module)

    def replay(self, key: str, batch: EvalBatch, again: Replay) -> None:
        """Run the members on a batch."""
        trainer, standing = again.module.trainer, self._standing
        if standing is None or key.startswith("val/"):
            return
        batches = standing.members.scores(trainer, again.module, again, batch, forward_fn=self.forward_fn)
        if key == "val":
            self._rows = self._rows or rows_of(trainer, len(batches), batch.num_classes, labels=batch.multilabel)
            self._rows.update(batches)
        else:
            found = self._judge(trainer, key, self.reading.likeness(batch)).add(batches)
            self._followers.add(trainer, key, found[standing.shipped])

    def _judge(self, trainer: Trainer, key: str, likeness: tuple[int, ...]) -> Judge:
        assert self._standing is not None
        if key not in self._judges:
            strategies, members = self._standing.strategies, len(self._standing.states)
            device = trainer.strategy.root_device
            self._judges[key] = Judge(self.reading, likeness, strategies=strategies, members=members, device=device)
        return self._judges[key]

    def summarize(
        self, module: LightningModule, evaluation: Evaluation, names: tuple[str, ...]
    ) -> EnsembleReport | None:
        """What members and strategies amount to; of the validations of a fit nothing, before it ends."""
        trainer, standing = module.trainer, self._standing
        if trainer.state.fn == "fit":
            self._last = evaluation if evaluation.key == "val" else self._last
            if evaluation.key == "val":
                saved = partial(saved_steps, trainer)
                self._gathering.end(trainer, len(names), task=self.reading.task, saved=saved)
            return None
        if standing is None or evaluation.key.startswith("val/"):
            return None
        if evaluation.stage == "val":
            return self._fit_to(trainer, module, standing.states, len(names))
        judge = self._judge(trainer, evaluation.key, (len(names), 0))
        sum_over_ranks(trainer, judge.metrics)
        self._followers.report(trainer, module, evaluation)
        return report_judged(judge, standing.strategies, standing.states, standing.fit)

    def finish(self, trainer: Trainer, module: LightningModule) -> None:
        """Fit the strategies at the end of a fit; all ranks together."""
        if trainer.fast_dev_run or "val" not in self.stages:  # type: ignore[attr-defined]
            return
        if self._last is None:
            EvaluationStream.of(trainer).say_once(NO_VALIDATION)
            return
        states = self.wanted.found(trainer, module, self._gathering.losses())
        if not states:
            EvaluationStream.of(trainer).say_once(NO_CHECKPOINTS)
            return
        report = self._fit_to(trainer, module, states, len(self.names(self._last.names)))
        self._gathering.forget()
        self.write_last(trainer, self._last, report, self.show(report, self._last.label))

    def _fit_to(
        self, trainer: Trainer, module: LightningModule, states: Sequence[MemberState], columns: int
    ) -> EnsembleReport:
        """Fit the strategies to members, and keep that; all ranks together."""
        judging = JudgingPass(
            trainer, module, self.reading, columns=columns, on=self.wanted.on, forward_fn=self.forward_fn
        )
        labels = self.reading.task == "multilabel"
        if trainer.state.fn == "fit":
            table = table_of(trainer, states, self._gathering, judging)
        else:
            table = table_of_pass(trainer, self._rows, members=len(states), columns=columns, labels=labels)
        fitting = Fitting(
            self.reading, self.strategies, folds=self.folds, folder=self.wanted.folder(trainer, states),
            entry=entry_of(trainer, self.reading),
        )  # fmt: skip
        self.fit, report = fit_together(fitting, states, table, judging, soups=self.soups)
        if trainer.is_global_zero:
            with self.guarded(trainer, "write its fit", "A test in another process has no fit then."):
                self.fit.write(fitting.folder)
        return report

    def show(self, result: EnsembleReport, title: str) -> Iterator[Tagged]:
        """The strategies, the members, and what they share."""
        from lightning_posttrain.ensembles.render.strategies import ensemble_artifacts

        yield from ensemble_artifacts(result, tag=self.tag, title=title)

    def release(self, trainer: Trainer) -> None:
        """Let go of the members' weights."""
        self._standing = self._fits = self._rows = None
        self._followers.go_home(trainer)
