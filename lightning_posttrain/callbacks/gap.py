"""Training against validation: a watch for overfitting."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, final

from lightning.pytorch import LightningModule, Trainer
from typing_extensions import Unpack

from lightning_posttrain.artifacts import Tagged
from lightning_posttrain.batch import EvalBatch
from lightning_posttrain.callbacks.base import StreamCallback
from lightning_posttrain.callbacks.options import EvaluationOptions
from lightning_posttrain.evaluation import Evaluation, Needs
from lightning_posttrain.functional.report import Findings, classification_report
from lightning_posttrain.metrics import ConfusionCounts, LossSums, RankCounts, ReliabilityBins, ScoreHistograms
from lightning_posttrain.results import ClassificationReport, GapHistory, Pair, Result


@final
class GeneralizationGap(StreamCallback):
    """Logs training minus validation, draws both over the epochs, and says when the model seems to overfit.

    Training is read as it happens, by the same means as validation: batch by batch, with dropout and augmentation,
    and with weights that change through the epoch. So training figures are those of the epoch's mean weights, and early
    on they may lie below validation's.

    ``gap/<figure>`` is training minus validation, so that a loss has a negative gap where training is ahead. It is
    logged at the end of each training epoch that had a validation.

    Args:
        figures: names of the report's figures, as ``ClassificationMetrics`` has them.
        patience: a warning in plain words comes when validation was worse than at its best for so many epochs in a
            row, by more than chance, while the gap became wider.
        **options: what every callback takes, see ``StreamCallback``; ``stages`` are always training and validation.

    Example:
        >>> from lightning.pytorch import Trainer
        >>> trainer = Trainer(callbacks=GeneralizationGap(figures=["accuracy", "log_loss"]), logger=False)
    """

    tag = "history"

    def __init__(
        self,
        *,
        figures: Sequence[str] = ("accuracy", "log_loss"),
        patience: int = 3,
        **options: Unpack[EvaluationOptions],
    ) -> None:
        if "stages" in options:
            raise ValueError("`stages` is not for GeneralizationGap, which compares training with validation.")
        options["stages"] = ("train", "val")
        super().__init__(**options)
        if patience < 1:
            raise ValueError(f"`patience` is {patience}, wanted at least 1.")
        self.figures = tuple(figures)
        self.patience = patience
        self._history: dict[str, list[Pair]] = {name: [] for name in self.figures}
        self._resumed = False
        self._val: tuple[int, ClassificationReport] | None = None

    def metrics(self) -> Needs:
        """What the figures follow from."""
        curves = any(name.startswith(("auroc", "average_precision")) for name in self.figures)
        ranks = any(name.startswith("top_") for name in self.figures)
        more = ((ScoreHistograms,) if curves else ()) + ((RankCounts,) if ranks else ())
        return (ConfusionCounts, LossSums, ReliabilityBins, *more)

    def check(self, module: LightningModule, batch: EvalBatch) -> None:
        """Raise for a figure that the report has not."""
        super().check(module, batch)
        found = [kind.of_nothing(batch.num_classes, multilabel=batch.multilabel) for kind in self.metrics()]
        known = self._report_of(found).overall
        unknown = [name for name in self.figures if name not in known]
        if unknown:
            raise ValueError(f"`figures` has {unknown[0]!r}, wanted some of {', '.join(known)}.")

    def summarize(self, module: LightningModule, evaluation: Evaluation, names: tuple[str, ...]) -> GapHistory | None:
        """Both figures, at the end of training's epoch."""
        if evaluation.suffix:
            return None
        epoch = module.trainer.current_epoch
        report = self._report_of(evaluation.results.values())
        if evaluation.stage == "val":
            self._val = (epoch, report)
            return None
        if self._val is None or self._val[0] != epoch:
            return None
        for name, pairs in self._history.items():
            pairs.append(Pair(epoch, report[name], self._val[1][name]))
        rows = int(self._val[1].support.sum())
        return GapHistory({name: tuple(pairs) for name, pairs in self._history.items()}, self.patience, rows)

    def _report_of(self, results: Iterable[Result]) -> ClassificationReport:
        tops = [int(name.split("_")[1]) for name in self.figures if name.startswith("top_")]
        return classification_report(Findings.of(results), binary=self.reading.task == "binary", top_k=tops)

    def place(self, evaluation: Evaluation) -> str:
        """Neither stage's."""
        return "gap"

    def show(self, result: GapHistory, title: str) -> Iterator[Tagged]:
        """The plot and the last figures."""
        from lightning_posttrain.render.gap import gap_image, gap_table

        yield Tagged(self.tag, gap_image(result))
        yield Tagged("last", gap_table(result))

    # a run that is resumed goes on where it was

    def state_dict(self) -> dict[str, Any]:
        """The history."""
        return {"history": {name: [list(pair) for pair in pairs] for name, pairs in self._history.items()}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up a history; figures that are no longer asked for are left out."""
        kept = state_dict["history"]
        self._history = {name: [Pair(*pair) for pair in kept.get(name, [])] for name in self.figures}
        self._resumed = True

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """A run from the start has no history; one that is resumed keeps what its checkpoint had."""
        if trainer.current_epoch == 0 and not self._resumed:
            self._history = {name: [] for name in self.figures}
        self._val, self._resumed = None, False
