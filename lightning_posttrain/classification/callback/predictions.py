"""Predictions of single rows, kept in validation and test, and written after the last."""

from __future__ import annotations

from lightning.pytorch import LightningModule, Trainer
from typing_extensions import Unpack

from lightning_posttrain.classification.batch import EvalBatch
from lightning_posttrain.classification.callback.base import EvaluationOptions, StreamCallback
from lightning_posttrain.classification.kept_predictions import KeptPredictions
from lightning_posttrain.core.capture.foreign import attribute, length
from lightning_posttrain.core.capture.loaders import named_loaders, of_other_stages, stage_of
from lightning_posttrain.core.output.artifacts import Tagged
from lightning_posttrain.core.stream.evaluation import Evaluation
from lightning_posttrain.core.stream.run_facts import rows_of

TAG = "predictions"


class KeepsPredictions(StreamCallback):
    """Keeps the predictions of an evaluation; those of a fit's validations are written when it ends."""

    def __init__(self, **options: Unpack[EvaluationOptions]) -> None:
        super().__init__(**options)
        self._kept: dict[str, KeptPredictions] = {}
        self._last: dict[str, tuple[str, str, tuple[str, ...], int]] = {}

    def start(self, trainer: Trainer, module: LightningModule, stage: str) -> None:
        """Begin with nothing."""
        super().start(trainer, module, stage)
        self._kept, self._last = {}, {}

    def open(self, trainer: Trainer, module: LightningModule) -> None:
        """Keep nothing of an epoch that was broken off, nor of the one before."""
        super().open(trainer, module)
        stage = stage_of(trainer)
        self._kept = of_other_stages(self._kept, trainer)
        if stage != "train" and self.attempt(trainer, "begin", self.takes, trainer):
            for suffix, loader, _ in named_loaders(trainer):
                size, rows = length(attribute(loader, "dataset")), rows_of(trainer, loader)
                kept = KeptPredictions(size, rows, rank=trainer.global_rank, world=trainer.world_size)
                self._kept[stage + suffix] = kept

    def observe(self, key: str, batch: EvalBatch) -> None:
        """Keep what was said of some rows, and of all whether it was right."""
        if key in self._kept:
            self._kept[key].offer(batch)

    def counts_open_epoch(self) -> bool:
        """As it keeps nothing of training."""
        return True

    def report_one(self, trainer: Trainer, module: LightningModule, evaluation: Evaluation) -> None:
        """Report it, and write the predictions where no other validation follows."""
        super().report_one(trainer, module, evaluation)
        if evaluation.key in self._kept:
            self.attempt(trainer, "keep predictions", self._note, trainer, evaluation)
            if trainer.state.fn != "fit":
                self._write(trainer, evaluation.key)

    def _note(self, trainer: Trainer, evaluation: Evaluation) -> None:
        about = (self.place(evaluation), evaluation.suffix, self.names(evaluation.names), trainer.current_epoch)
        self._last[evaluation.key] = about

    def finish(self, trainer: Trainer, module: LightningModule) -> None:
        """Write those of the last validation of a fit."""
        super().finish(trainer, module)
        for key in list(self._last):
            self._write(trainer, key)

    def _write(self, trainer: Trainer, key: str) -> None:
        from lightning_posttrain.classification.render.predictions import predictions_table

        about, kept = self._last.pop(key, None), self._kept.pop(key, None)
        if about is None or kept is None:
            return
        place, suffix, names, epoch = about
        result = self.attempt(trainer, "join the predictions of all ranks", kept.report, names, trainer)
        if result is not None:
            shown = (Tagged(TAG, predictions_table(one.found)) for one in [result] if one.found.table)
            of_fit = epoch if trainer.state.fn == "fit" else None
            self._reporter.write(trainer, place, suffix, tag=TAG, result=result, shown=shown, epoch=of_fit)
