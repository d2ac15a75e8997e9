"""Checkpoints as members of an ensemble: fitted on validation, judged in one pass over the test."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal, final

from lightning.pytorch import LightningModule, Trainer
from torch import nn
from typing_extensions import Unpack

from lightning_posttrain.classification import EvalBatch, EvaluationOptions, StreamCallback
from lightning_posttrain.core.callback.options import at_least
from lightning_posttrain.core.capture.loaders import stage_of
from lightning_posttrain.core.output.artifacts import Tagged
from lightning_posttrain.core.stream.evaluation import Evaluation
from lightning_posttrain.core.stream.replay import Replay
from lightning_posttrain.ensembles.ensemble_run import EnsembleRun
from lightning_posttrain.ensembles.fit import EnsembleFit
from lightning_posttrain.ensembles.followers import Followers
from lightning_posttrain.ensembles.member_sources import MemberSources, Said
from lightning_posttrain.ensembles.network import EnsembleNetwork
from lightning_posttrain.ensembles.result import EnsembleReport


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
            their tags begin with ``of_ensemble/``. ``HardExamples`` also shows where members disagree most.
        **options: what every callback takes, see ``StreamCallback``.

    Attributes:
        fit: what was fitted when the last run ended, or was found beside the checkpoint that it tested; else None.

    Example:
        >>> from lightning.pytorch import Trainer
        >>> from lightning.pytorch.callbacks import ModelCheckpoint
        >>> keep = ModelCheckpoint(monitor="val/log_loss", save_top_k=5)
        >>> trainer = Trainer(callbacks=[CheckpointEnsemble(), keep], logger=False)
    """

    tag = "ensemble"
    charted = ("ensemble/accuracy", "ensemble/log_loss")
    several_targets = False
    stays = ("_run",)

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
        at_least("folds", folds, 2)
        sources = MemberSources(members, averages=averages, most=most, on=on)
        self._run = EnsembleRun(
            sources, Followers(then), strategies=strategies, soups=soups, folds=folds, forward_fn=forward_fn
        )
        self.names_samples = self._run.followers.names_samples
        self.fit: EnsembleFit | None = None

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
            raise ValueError("nothing was fitted. Run fit or validate before, or test with the ckpt_path of a member.")
        return self._run.sources.network(self.fit, model, strategy, self._run.forward_fn)

    def start(self, trainer: Trainer, module: LightningModule, stage: str) -> None:
        """Begin a run."""
        self._run.start(trainer, module, stage, self.fit)

    def open(self, trainer: Trainer, module: LightningModule) -> None:
        """Begin an epoch, with members where it is no fit's."""
        self.asks_again = stage_of(trainer) in self.stages and self._run.open(trainer, module, self.reading)

    def observe(self, key: str, batch: EvalBatch) -> None:
        """Keep the scores of a validation in a fit."""
        self._run.observe(key, batch)

    def see(self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, loader: int) -> None:
        """Note which weights a validation in a fit judges."""
        self._run.see(trainer, module)

    def replay(self, key: str, batch: EvalBatch, again: Replay) -> None:
        """Run the members on a batch."""
        self.asks_again = False  # not again after an error
        self._run.replay(key, batch, again, self.reading)
        self.asks_again = True

    def summarize(
        self, module: LightningModule, evaluation: Evaluation, names: tuple[str, ...]
    ) -> EnsembleReport | None:
        """What members and strategies amount to; of the validations of a fit nothing, before it ends."""
        return self._run.summarize(module, evaluation, self.reading)

    def finish(self, trainer: Trainer, module: LightningModule) -> None:
        """Fit the strategies at the end of a fit; all ranks together."""
        if "val" in self.stages and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            found = self._run.finish(trainer, module, self.reading)
            self.fit = self._run.fit  # for who ships it
            if found is not None:
                self.write_last(trainer, *found)

    def scalars(self, result: EnsembleReport) -> dict[str, float]:
        """The figures of the ensemble, behind its own tag, as others log theirs of the module's scores."""
        return {f"{self.tag}/{name}": value for name, value in result.scalars().items()}

    def show(self, result: EnsembleReport, title: str) -> Iterator[Tagged]:
        """The strategies, the members, and what they share."""
        from lightning_posttrain.ensembles.render.strategies import ensemble_artifacts

        yield from ensemble_artifacts(result, tag=self.tag, title=title)

    def release(self, trainer: Trainer) -> None:
        """Let go of the members' weights."""
        self.fit = self._run.fit
        self._run.end()
        self._run.followers.go_home(trainer)
