"""The exported files beside the module on the whole test loader."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lightning_posttrain.classification import ClassReading, EvalBatch
from lightning_posttrain.core.callback.from_lightning import rank_zero_info
from lightning_posttrain.core.stream.evaluation import Evaluation
from lightning_posttrain.core.stream.ranks import worked_out_first
from lightning_posttrain.core.stream.replay import Replay
from lightning_posttrain.export.parity.tolerance import Precision
from lightning_posttrain.export.result import ExportReport
from lightning_posttrain.export.run.asked_call import AskedCall, asked_call
from lightning_posttrain.export.run.context import Context
from lightning_posttrain.export.run.figures import metrics_of
from lightning_posttrain.export.run.kept_rows import taken
from lightning_posttrain.export.run.making import PRECISIONS
from lightning_posttrain.export.run.raw_inputs import arrays, raw, statistics_of
from lightning_posttrain.export.run.settings import Settings
from lightning_posttrain.export.run.shipping import DataSeen
from lightning_posttrain.export.run.subject import Subject, subject_of
from lightning_posttrain.export.run.trial import Trial
from lightning_posttrain.export.signature import Array

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule, Trainer

LONG = 300.0
"""Seconds that comparing may take before it is said."""
KEPT = 64
"""Rows of the first batch that batch sizes and latency are measured on."""


class OnTest:
    """Compares, batch by batch, on the first rank.

    Args:
        settings: what the user said.
        place: the folder.
    """

    def __init__(self, settings: Settings, place: str) -> None:
        self._settings, self._place = settings, place
        self._held = ExitStack()
        self._asked: AskedCall | None = None
        self._subject: Subject | None = None
        self._trial: Trial | None = None
        self._seen = DataSeen(0)
        self._some: dict[str, Array] = {}

    def end(self) -> None:
        """Let go of files that were made."""
        self._held.close()

    def add(self, batch: EvalBatch, again: Replay, reading: ClassReading, names: tuple[str, ...]) -> bool:
        """Compare a batch; whether more are wanted."""
        trainer = again.module.trainer
        most = self._settings.test_rows
        if not trainer.is_global_zero or not batch.size:
            return trainer.is_global_zero
        first = None if self._asked is not None else asked_call(again, batch, forward_fn=self._settings.forward_fn)
        parts = first.parts if first is not None else self._asked.parts_of(again, batch)  # type: ignore[union-attr]
        piece = taken(parts, batch, batch.size if most is None else min(batch.size, most - self._rows))
        if first is not None:
            self._asked = first.kept()
            self._begin(again, first, piece.inputs, reading, names)
        started = time.monotonic()
        self._compare(piece.inputs, batch, piece.batch)
        self._say_if_long(trainer, time.monotonic() - started)
        return most is None or self._rows < most

    @property
    def _rows(self) -> int:
        return 0 if self._trial is None else self._trial.rows

    def _begin(
        self,
        again: Replay,
        asked: AskedCall,
        inputs: Mapping[Any, Tensor],
        reading: ClassReading,
        names: tuple[str, ...],
    ) -> None:
        trainer = again.module.trainer
        run = Context(trainer, again.module, reading, self._settings, names, self._place)
        subject = subject_of(run, asked, inputs, self._held)
        precision = precision_of(trainer)
        kinds: dict[str, Precision] = {name: PRECISIONS.get(name, precision) for name in subject.files.runners}
        self._subject = subject
        self._trial = Trial(subject.files.runners, subject.decision, metrics_of(trainer, reading), kinds)
        self._seen = DataSeen(len(names))
        given = arrays(raw(subject.named(inputs), self._settings))
        self._some = {name: array[:KEPT] for name, array in given.items()}

    def _compare(self, inputs: Mapping[Any, Tensor], batch: EvalBatch, own: EvalBatch | None) -> None:
        assert self._subject is not None
        assert self._trial is not None
        given = arrays(raw(self._subject.named(inputs), self._settings))
        self._trial.add(given, self._subject.tested(given, own or batch), batch=own)
        if own is not None:
            self._seen.add(own.target, None if batch.index is None else batch.index[: own.size], own.size)

    def _say_if_long(self, trainer: Trainer, seconds: float) -> None:
        batches = float(trainer.num_test_batches[0])
        bounded = self._settings.test_rows is not None or math.isinf(batches)
        if not bounded and seconds * batches > LONG and not self._seen.said:
            self._seen.said = True
            rank_zero_info(
                f"ModelExport runs each format on all {batches:.0f} batches of the test, which may take "
                f"{seconds * batches / 60:.0f} minutes. test_rows=10000 bounds it."
            )

    def report(self, module: LightningModule, evaluation: Evaluation) -> ExportReport | None:
        """What was found; the first rank's, on all ranks, which call it together."""
        trainer = module.trainer
        return worked_out_first(trainer, lambda: self._report(module, evaluation))

    def _report(self, module: LightningModule, evaluation: Evaluation) -> ExportReport | None:
        if self._subject is None or self._trial is None:
            return None
        return self._subject.report(
            module, evaluation, self._trial, self._seen, rows=self._some, statistics=statistics_of([self._some]),
            precision=precision_of(module.trainer), against=_against(module.trainer),
        )  # fmt: skip


def precision_of(trainer: Trainer) -> Precision:
    """In which the step computed what the exported models are compared with."""
    low = "16" in str(trainer.precision) or str(trainer.precision).startswith("transformer")
    on_device = trainer.strategy.root_device.type != "cpu"
    fast = torch.backends.cuda.matmul.allow_tf32 or torch.backends.cudnn.allow_tf32
    return "half" if low or (on_device and fast) else "float32"


def _against(trainer: Trainer) -> str:
    """What the exported models are compared with, where that is not the module in float32."""
    if precision_of(trainer) == "float32":
        return ""
    return f"the step, in {trainer.precision} on {trainer.strategy.root_device.type}"
