"""The callback that reports a trial's figure and prunes the trial, in peace."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, final

from lightning_posttrain.core.callback.namespaces import AnyCallback
from lightning_posttrain.tuning.refusal import StudyRefused
from lightning_posttrain.tuning.reports import Reports

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule, Trainer


@final
class TrialPruning(AnyCallback):
    """Reports the monitored figure after each validation, and stops the trainer on all ranks where the study says so.

    Without a validation it reports at the end of each training epoch. It raises nothing to end a trial: an exception
    would call ``on_exception`` of every callback and close loggers as failed. ``min_epochs`` of the Trainer is kept to.

    Args:
        reports: the line to the study.
    """

    def __init__(self, reports: Reports) -> None:
        self.reports = reports
        self.stops = False

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:  # noqa: D102
        self._beat(trainer)

    def on_validation_batch_end(self, trainer: Trainer, *_: Any) -> None:  # noqa: D102
        self._beat(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002, D102
        if not trainer.sanity_checking and trainer.state.fn == "fit":
            self._judge(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002, D102
        if not trainer.enable_validation:
            self._judge(trainer)

    def _beat(self, trainer: Trainer) -> None:
        if trainer.is_global_zero:
            self.reports.beat()

    def _judge(self, trainer: Trainer) -> None:
        value = self._value(trainer)
        if trainer.is_global_zero and not self.stops:
            self.stops = self.reports.judge(value, trainer.global_step)
        self.stops = trainer.strategy.broadcast(self.stops)
        trainer.should_stop = trainer.should_stop or self.stops

    def _value(self, trainer: Trainer) -> float:
        figures = trainer.callback_metrics
        if self.reports.monitor not in figures:
            stage = "validation" if trainer.enable_validation else "training epoch"
            raise StudyRefused(
                f"`monitor` is {self.reports.monitor!r}, wanted a figure that is logged when a {stage} ends: "
                f"{sorted(figures) or 'there is none, so log one with self.log(...)'}."
            )
        return float(figures[self.reports.monitor])
