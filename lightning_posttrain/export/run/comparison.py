"""The formats beside the module in a test, batch by batch, and what of them stays in the folder."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from typing import final

from torch import Tensor

from lightning_posttrain.classification import EvalBatch
from lightning_posttrain.core.capture.batch_parts import Path
from lightning_posttrain.core.stream.evaluation import Evaluation
from lightning_posttrain.export.folder.writing import update_manifest
from lightning_posttrain.export.manifest import Manifest
from lightning_posttrain.export.result import ExportReport, FormatParity
from lightning_posttrain.export.run.asked_call import AskedCall
from lightning_posttrain.export.run.context import Context
from lightning_posttrain.export.run.figures import metrics_of
from lightning_posttrain.export.run.judged import Judge
from lightning_posttrain.export.run.kept_rows import Piece
from lightning_posttrain.export.run.making import PRECISIONS
from lightning_posttrain.export.run.raw_inputs import arrays, raw_inputs
from lightning_posttrain.export.run.reference_run import reference_run
from lightning_posttrain.export.run.shipping import NOTHING_KEPT, report_of, with_parity, withdraw, write_kept
from lightning_posttrain.export.run.subject import Subject, subject_of
from lightning_posttrain.export.run.trial import Trial
from lightning_posttrain.export.signature import Array

STAGE = "test"
SOME = 64
"""Rows of the first batch that batch sizes and latency are measured on."""


@final
class Comparison:
    """What is compared in a test, and how it stands.

    Args:
        run: of the test.
        asked: how the step asks its network.
        subject: what is compared.
        some: rows of the first batch, by input.
    """

    def __init__(self, run: Context, asked: AskedCall, subject: Subject, some: Mapping[str, Array]) -> None:
        self.asked = asked
        self._run, self._subject, self._some = run, subject, some
        self._reference = reference_run(run.trainer)
        precisions = {name: PRECISIONS.get(name, self._reference.precision) for name in subject.files.runners}
        self.trial = Trial(subject.files.runners, subject.decision, metrics_of(run), precisions)

    @classmethod
    def begun(cls, run: Context, asked: AskedCall, parts: Mapping[Path, Tensor], held: ExitStack) -> Comparison:
        """With the first batch, which is not compared yet.

        Args:
            run: of the test.
            asked: how the step asks its network.
            parts: what it gave to it, on the CPU.
            held: what lets go of files that are made.
        """
        subject = subject_of(run, asked, parts, held)
        given = arrays(raw_inputs(parts, subject.slots, run.settings))
        return cls(run, asked.kept(), subject, {name: array[:SOME] for name, array in given.items()})

    def add(self, piece: Piece, batch: EvalBatch) -> None:
        """Compare rows.

        Args:
            piece: of a batch.
            batch: the whole, as the step predicted it.
        """
        given = arrays(raw_inputs(piece.inputs, self._subject.slots, self._run.settings))
        index = None if batch.index is None else batch.index[: piece.rows]
        tested = self._subject.answers(given, piece.batch or batch)
        self.trial.add(given, tested, batch=piece.batch, index=index)

    def report(self, evaluation: Evaluation) -> ExportReport:
        """What each format amounts to; the folder is written anew with those that are kept."""
        subject = self._subject
        reports = self.trial.reports(self._run.module, evaluation)
        judge = Judge(self.trial, STAGE, reports, self._reference)
        if subject.before is None:
            formats = judge.made_now(subject.files, self._some)
        else:
            formats = judge.made_before(subject.before)
        remark = NOTHING_KEPT if subject.manifest is None else self._write(
            with_parity(subject.manifest, formats, self.trial, stage=STAGE, reports=reports), formats
        )  # fmt: skip
        return report_of(self._run, subject.weights, subject.decision, formats=formats, trial=self.trial, remark=remark)

    def _write(self, manifest: Manifest, formats: tuple[FormatParity, ...]) -> str:
        """Write the folder; a sentence where nothing is kept."""
        subject = self._subject
        if subject.before is None:
            return write_kept(self._run.place, manifest, formats, subject.files.folder)
        if not any(one.kept for one in formats):
            return withdraw(self._run.place)
        gone = [file for one in formats if not one.kept for file in subject.before[one.name].files]
        update_manifest(self._run.place, lambda _: manifest, without=gone)
        return ""
