"""Training against validation: a watch for overfitting."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, final

from lightning.pytorch import LightningModule, Trainer
from typing_extensions import Unpack

from lightning_posttrain.classification.batch import EvalBatch
from lightning_posttrain.classification.callback.base import EvaluationOptions, StreamCallback
from lightning_posttrain.classification.gap_history import EpochPairs
from lightning_posttrain.classification.metric.base import Needs
from lightning_posttrain.classification.report_plan import ReportPlan
from lightning_posttrain.classification.result.gap import GapHistory
from lightning_posttrain.core.callback.options import at_least
from lightning_posttrain.core.callback.target_copies import KeptState
from lightning_posttrain.core.output.artifacts import Tagged
from lightning_posttrain.core.stream.evaluation import Evaluation


@final
class GeneralizationGap(KeptState, StreamCallback):
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
        at_least("patience", patience, 1)
        self.figures = tuple(figures)
        self.patience = patience
        self._pairs = EpochPairs(self.figures, patience)

    @property
    def _plan(self) -> ReportPlan:
        return ReportPlan.of_figures(self.figures, self.reading.task)

    def metrics(self) -> Needs:
        """What the figures follow from."""
        return self._plan.metrics()

    def check(self, module: LightningModule, batch: EvalBatch) -> None:
        """Raise for a figure that the report has not."""
        super().check(module, batch)
        known = self._plan.report_of_nothing(batch).overall
        unknown = [name for name in self.figures if name not in known]
        if unknown:
            raise ValueError(f"`figures` has {unknown[0]!r}, wanted some of {', '.join(known)}.")

    def summarize(self, module: LightningModule, evaluation: Evaluation, names: tuple[str, ...]) -> GapHistory | None:
        """Both figures, at the end of training's epoch."""
        if evaluation.suffix:
            return None
        report = self._plan.report(evaluation.results.values())
        return self._pairs.add(evaluation.stage, module.trainer.current_epoch, report)

    def place(self, evaluation: Evaluation) -> str:
        """Neither stage's."""
        return "gap"

    def show(self, result: GapHistory, title: str) -> Iterator[Tagged]:
        """The plot and the last figures."""
        from lightning_posttrain.classification.render.gap import gap_image, gap_table

        # loggers have all curves at a glance
        yield Tagged(self.tag, replace(gap_image(result), files_only=True))
        yield Tagged("last", gap_table(result))

    # a run that is resumed goes on where it was

    def kept(self) -> dict[str, Any]:
        """The history."""
        return self._pairs.state_dict()

    def take_up(self, state: dict[str, Any]) -> None:
        """Go on with a history; figures that are no longer asked for are left out."""
        self._pairs.load_state_dict(state or {"history": {}})

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """A run from the start has no history; one that is resumed keeps what its checkpoint had."""
        self.attempt(trainer, "begin a history", self._pairs.start, trainer.current_epoch)
