"""What a test compares: the files of an earlier export of the same weights, or files that are made now."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from lightning_posttrain.classification import EvalBatch
from lightning_posttrain.core.callback.fitted_on_validation import mark_of
from lightning_posttrain.core.capture import batch_parts
from lightning_posttrain.core.stream.evaluation import Evaluation
from lightning_posttrain.export.decision import Decision
from lightning_posttrain.export.folder.places import beside
from lightning_posttrain.export.folder.writing import update_manifest
from lightning_posttrain.export.formats import FORMATS
from lightning_posttrain.export.manifest import Manifest
from lightning_posttrain.export.outputs import Runner
from lightning_posttrain.export.parity.tolerance import Precision
from lightning_posttrain.export.program.deployed import Deployed
from lightning_posttrain.export.program.entry import FunctionAsk, entry_by, entry_of
from lightning_posttrain.export.result import ExportReport, FormatParity
from lightning_posttrain.export.run.asked_call import AskedCall
from lightning_posttrain.export.run.context import Context
from lightning_posttrain.export.run.earlier import earlier
from lightning_posttrain.export.run.fitted import fitted_for
from lightning_posttrain.export.run.judged import judged, judged_again, not_run, paired
from lightning_posttrain.export.run.making import Made, eager, made
from lightning_posttrain.export.run.prepared import Prepared, decision_of, head_of, prepared
from lightning_posttrain.export.run.raw_inputs import raw
from lightning_posttrain.export.run.row_form import Inputs
from lightning_posttrain.export.run.shipping import (
    NOTHING_KEPT,
    DataSeen,
    about_files,
    figures_with_intervals,
    manifest_of,
    weights_facts,
    with_parity,
    withdraw,
    write_kept,
)
from lightning_posttrain.export.run.tested import Tested, answered, answered_by_step, uncalibrated
from lightning_posttrain.export.run.trial import TESTED as OF_THE_MODULE
from lightning_posttrain.export.run.trial import Trial
from lightning_posttrain.export.run.weights import TESTED, Weights, weights_of

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule

STAGE = "test"


@dataclass(frozen=True, eq=False)
class Subject:
    """What a test compares.

    Args:
        files: of the formats, and what runs them.
        slots: by input, where it stands in what the step gave to its network.
        decision: how the module decides.
        manifest: what the folder says, or will say.
        place: of the folder.
        head: decides behind the scores of the step; None where the module is not what is shipped.
        shipped: the module that is, where its scores are not the step's.
        before: what is known of the files of an earlier export, by format; None where they are made now.
    """

    files: Made
    slots: Mapping[str, batch_parts.Path]
    decision: Decision
    manifest: Manifest | None
    place: str
    words: str
    head: Deployed | None = None
    shipped: tuple[Runner, Runner] | None = None
    before: Mapping[str, FormatParity] | None = None

    def named(self, parts: Mapping[batch_parts.Path, Tensor]) -> dict[str, Tensor]:
        """What the step gave to its network, by input."""
        return {name: parts[path] for name, path in self.slots.items()}

    def tested(self, inputs: Inputs, batch: EvalBatch) -> Tested:
        """What the module answers."""
        if self.shipped is not None:
            return answered(*self.shipped, self.decision, inputs)
        assert self.head is not None
        return answered_by_step(self.head, batch)

    def report(
        self, module: LightningModule, evaluation: Evaluation, trial: Trial, seen: DataSeen, *, rows: dict[str, Any],
        statistics: dict[str, Any], precision: Precision, against: str,
    ) -> ExportReport:  # fmt: skip
        """What each format amounts to; the folder is written anew with those that are kept."""
        reports = trial.reports(module, evaluation)
        figures = {name: dict(report.overall) for name, report in reports.items()}
        told = {"precision": precision, "against": against}
        if self.files.traced is None and self.before is None:
            formats = tuple(not_run(self.files))
        elif self.before is None:
            formats = judged(self.files, trial, stage=STAGE, rows=rows, metrics=figures, **told)  # type: ignore[arg-type]
        else:
            formats = self._again(self.before, trial, figures, told)
        values = figures_with_intervals(reports.get(OF_THE_MODULE))
        found: dict[str, Any] = {
            "metrics": values,
            "data": seen,
            "statistics": statistics,
            "reference": trial.drift_reference(),
        }
        wrote = self.manifest is not None and self._write(
            with_parity(self.manifest, formats, stage=STAGE, **found), formats
        )
        return ExportReport(
            Path(self.place).name, self.words, formats, self.decision.words, statistics, self.decision.left_out,
            trial.remarks if wrote else (*trial.remarks, NOTHING_KEPT),
        )  # fmt: skip

    def _again(
        self, before: Mapping[str, FormatParity], trial: Trial, figures: Mapping[str, Any], told: Mapping[str, Any]
    ) -> tuple[FormatParity, ...]:
        found = []
        for name, known in before.items():
            if name not in trial.sums:
                found.append(known)
                continue
            failed, metrics = trial.failed.get(name, ""), paired(figures, name)
            found.append(judged_again(known, trial.sums[name], failed=failed, stage=STAGE, metrics=metrics, **told))
        return tuple(found)

    def _write(self, manifest: Manifest, formats: tuple[FormatParity, ...]) -> bool:
        kept = {one.name for one in formats if one.kept}
        if self.before is None or kept != {name for name, one in self.before.items() if one.kept}:
            wrote = write_kept(self.place, manifest, formats, self.files.folder)
            if not wrote and self.before is not None:
                withdraw(self.place)
            return wrote
        update_manifest(self.place, lambda known: replace(manifest, files=known.files))
        return True


def subject_of(run: Context, asked: AskedCall, inputs: Mapping[batch_parts.Path, Tensor], held: ExitStack) -> Subject:
    """What a test compares, from its first batch on.

    Args:
        run: of the test.
        asked: how the step asks its network.
        inputs: of the first batch.
        held: what lets go of files that are made.
    """
    run.make_ready()
    if run.settings.weights == "ensemble":
        return _of_ensemble(run, asked, inputs, held)
    fitted = fitted_for(run.trainer, Weights(run.module, ""), run.reading, len(run.names))
    decision = decision_of(fitted, run.settings, task=run.reading.task, names=run.names)
    known = earlier(run, mark_of(run.module), decision, fitted)
    if known is not None:
        return _of_earlier(known, run, _slots(run, asked), head=head_of(known.decision))
    weights = weights_of(run.trainer, run.module, TESTED)
    shipped = prepared(weights, asked.kept(), fitted, decision, run.settings)
    return _made_now(run, shipped, inputs, held, head=head_of(shipped.decision))


def _of_ensemble(run: Context, asked: AskedCall, inputs: Mapping[batch_parts.Path, Tensor], held: ExitStack) -> Subject:
    """What is shipped is not what the step asks, and is asked beside it."""
    weights = weights_of(run.trainer, run.module, "ensemble")
    fitted = fitted_for(run.trainer, weights, run.reading, len(run.names))
    decision = decision_of(fitted, run.settings, task=run.reading.task, names=run.names)
    shipped = prepared(weights, asked.kept(), fitted, decision, run.settings)
    runners = (eager(shipped.deployed), eager(uncalibrated(shipped.deployed)))
    known = earlier(run, mark_of(weights.module), decision, fitted)
    if known is not None:
        return _of_earlier(known, run, shipped.slots, shipped=runners)
    return _made_now(run, shipped, inputs, held, runners=runners)


def _slots(run: Context, asked: AskedCall) -> Mapping[str, batch_parts.Path]:
    if asked.call is None:
        assert run.settings.forward_fn is not None
        return entry_by(run.module, FunctionAsk(run.settings.forward_fn, asked.form), asked.value).slots
    return entry_of(run.module, asked.call, asked.targets).slots


def _made_now(
    run: Context, shipped: Prepared, inputs: Mapping[batch_parts.Path, Tensor], held: ExitStack, *,
    head: Deployed | None = None, runners: tuple[Runner, Runner] | None = None,
) -> Subject:  # fmt: skip
    work = held.enter_context(beside(run.folder))
    files = made(
        shipped, [raw(shipped.named(inputs), run.settings)], run.settings.formats, work,
        about=lambda trace: about_files(run, shipped, trace), calibration=None,
    )  # fmt: skip
    signed = files.signature
    manifest = (
        None if signed is None else manifest_of(run.model_name, signed, shipped.decision, weights_facts(run, shipped))
    )
    words = shipped.weights.words
    return Subject(files, shipped.slots, shipped.decision, manifest, run.place, words, head, runners)


def _of_earlier(
    known: Manifest, run: Context, slots: Mapping[str, batch_parts.Path], *, head: Deployed | None = None,
    shipped: tuple[Runner, Runner] | None = None,
) -> Subject:  # fmt: skip
    before = {name: FormatParity.from_dict(state) for name, state in known.parity.items()}
    kept = [name for name, one in before.items() if one.kept]
    opened = {name: FORMATS[name].opened(run.folder, known.signature, threads=1) for name in kept}
    runners = {name: runner for name, runner in opened.items() if runner is not None}
    files = Made(run.folder, known.signature, runners)
    words = str(known.weights.get("words", ""))
    return Subject(files, slots, known.decision, known, run.place, words, head, shipped, before)
