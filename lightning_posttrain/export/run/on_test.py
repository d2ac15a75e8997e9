"""The export in a test: its first rank compares the files with the module on every batch."""

from __future__ import annotations

import math
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

from lightning_posttrain.classification import ClassReading, EvalBatch
from lightning_posttrain.core.callback.from_lightning import rank_zero_info
from lightning_posttrain.core.stream.evaluation import Evaluation
from lightning_posttrain.core.stream.ranks import worked_out_first
from lightning_posttrain.core.stream.replay import Replay
from lightning_posttrain.export.result import ExportReport
from lightning_posttrain.export.run.asked_call import asked_call
from lightning_posttrain.export.run.comparison import Comparison
from lightning_posttrain.export.run.context import Context
from lightning_posttrain.export.run.kept_rows import taken
from lightning_posttrain.export.run.settings import Settings

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule, Trainer

LONG = 300.0
"""Seconds that comparing may take before it is said."""


class OnTest:
    """Compares, batch by batch, on the first rank.

    Args:
        settings: what the user said.
        place: the folder.
    """

    def __init__(self, settings: Settings, place: str) -> None:
        self._settings, self._place = settings, place
        self._held = ExitStack()
        self._comparison: Comparison | None = None
        self._said_long = False

    def end(self) -> None:
        """Let go of files that were made."""
        self._held.close()

    def add(self, batch: EvalBatch, again: Replay, reading: ClassReading, names: tuple[str, ...]) -> bool:
        """Compare a batch; whether more are wanted."""
        trainer = again.module.trainer
        if not trainer.is_global_zero or not batch.size:
            return trainer.is_global_zero
        if self._comparison is None:
            asked = asked_call(again, batch, forward_fn=self._settings.forward_fn)
            piece = taken(asked.parts, batch, self._room(batch))
            run = Context(trainer, again.module, reading, self._settings, names, self._place)
            self._comparison = Comparison.begun(run, asked, piece.inputs, self._held)
        else:
            piece = taken(self._comparison.asked.parts_of(again, batch), batch, self._room(batch))
        begin = time.monotonic()
        self._comparison.add(piece, batch)
        self._say_if_long(trainer, time.monotonic() - begin)
        return self._room(batch) > 0

    def _room(self, batch: EvalBatch) -> int:
        """How many rows of a batch are still wanted."""
        if self._settings.test_rows is None:
            return batch.size
        compared = 0 if self._comparison is None else self._comparison.trial.rows
        return min(batch.size, self._settings.test_rows - compared)

    def _say_if_long(self, trainer: Trainer, seconds: float) -> None:
        batches = float(trainer.num_test_batches[0])
        bounded = self._settings.test_rows is not None or math.isinf(batches)
        if not bounded and seconds * batches > LONG and not self._said_long:
            self._said_long = True
            rank_zero_info(
                f"ModelExport runs each format on all {batches:.0f} batches of the test, which may take "
                f"{seconds * batches / 60:.0f} minutes. test_rows=10000 bounds it."
            )

    def report(self, module: LightningModule, evaluation: Evaluation) -> ExportReport | None:
        """What was found; the first rank's, on all ranks, which call it together."""
        found = self._comparison
        return worked_out_first(module.trainer, lambda: None if found is None else found.report(evaluation))
