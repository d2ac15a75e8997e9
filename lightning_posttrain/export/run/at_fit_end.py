"""The export at the end of a fit, compared on rows of validation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from lightning_posttrain.core.stream.evaluation import Evaluation
from lightning_posttrain.export.folder.places import beside
from lightning_posttrain.export.outputs import Runner
from lightning_posttrain.export.program import Traced
from lightning_posttrain.export.result import ExportReport
from lightning_posttrain.export.run.asked_call import AskedCall
from lightning_posttrain.export.run.context import Context
from lightning_posttrain.export.run.figures import metrics_of
from lightning_posttrain.export.run.fitted import fitted_for
from lightning_posttrain.export.run.judged import judged, not_run
from lightning_posttrain.export.run.kept_rows import KeptRows, Piece
from lightning_posttrain.export.run.making import PRECISIONS, Made, eager, made
from lightning_posttrain.export.run.prepared import Prepared, decision_of, prepared
from lightning_posttrain.export.run.raw_inputs import arrays, raw, statistics_of
from lightning_posttrain.export.run.row_form import Inputs
from lightning_posttrain.export.run.settings import Settings
from lightning_posttrain.export.run.shipping import (
    NOTHING_KEPT,
    DataSeen,
    about_files,
    figures_with_intervals,
    manifest_of,
    weights_facts,
    with_parity,
    write_kept,
)
from lightning_posttrain.export.run.tested import answered, behind_loader, uncalibrated
from lightning_posttrain.export.run.trial import TESTED, Trial
from lightning_posttrain.export.run.weights import weights_of
from lightning_posttrain.export.signature import Array

STAGE = "val"


def exported_at_fit_end(
    run: Context, last: Evaluation, *, kept: KeptRows, call: AskedCall | None, why_not: str
) -> ExportReport:
    """Export the chosen weights, and keep the formats that answer as the module does.

    Args:
        run: of the fit.
        last: its last validation.
        kept: rows of validation.
        call: how the step asks its network.
        why_not: what is said where there is nothing to compare on.

    Raises:
        ValueError: there are no rows, no such weights, or the folder is not ours.
    """
    if call is None or not kept.rows:
        raise ValueError(why_not)
    run.make_ready()
    shipped = _shipped(run, call)
    pieces, aside = _apart(kept.pieces, run.settings)
    with beside(run.folder) as work:
        files = made(
            shipped, [raw(shipped.named(piece.inputs), run.settings) for piece in pieces], run.settings.formats, work,
            about=lambda trace: about_files(run, shipped, trace),
            calibration=[arrays(raw(shipped.named(piece.inputs), run.settings)) for piece in aside] or None,
        )  # fmt: skip
        return _compared_and_written(run, last, files, shipped, pieces)


def _shipped(run: Context, call: AskedCall) -> Prepared:
    weights = weights_of(run.trainer, run.module, run.settings.weights)
    fitted = fitted_for(run.trainer, weights, run.reading, len(run.names))
    decision = decision_of(fitted, run.settings, task=run.reading.task, names=run.names)
    return prepared(weights, call, fitted, decision, run.settings)


def _apart(pieces: Sequence[Piece], settings: Settings) -> tuple[list[Piece], list[Piece]]:
    """Rows to compare on, and others to calibrate a quantisation with."""
    if not settings.calibrates or len(pieces) < 2:
        return list(pieces), []
    return list(pieces[::2]), list(pieces[1::2])


def _compared_and_written(
    run: Context, last: Evaluation, files: Made, shipped: Prepared, pieces: Sequence[Piece]
) -> ExportReport:
    rows = [arrays(raw(shipped.named(piece.inputs), run.settings)) for piece in pieces]
    wrote, formats, inputs = False, tuple(not_run(files)), statistics_of(rows)
    remarks: tuple[str, ...] = ()
    if files.traced is not None and files.signature is not None:
        trial, seen = _tried(run, files.traced, files.runners, shipped, pieces, rows)
        reports = trial.reports(run.module, last)
        figures = {name: dict(report.overall) for name, report in reports.items()}
        formats = judged(files, trial, stage=STAGE, rows=alike(rows), metrics=figures)
        manifest = manifest_of(run.model_name, files.signature, shipped.decision, weights_facts(run, shipped))
        manifest = with_parity(
            manifest, formats, stage=STAGE, metrics=figures_with_intervals(reports.get(TESTED)), data=seen,
            statistics=inputs, reference=trial.drift_reference(),
        )  # fmt: skip
        wrote, remarks = write_kept(run.place, manifest, formats, files.folder), trial.remarks
    return ExportReport(
        run.folder.name, shipped.weights.words, formats, shipped.decision.words, inputs, shipped.decision.left_out,
        remarks if wrote else (*remarks, NOTHING_KEPT),
    )  # fmt: skip


def _tried(
    run: Context, trace: Traced, runners: Mapping[str, Runner], shipped: Prepared, pieces: Sequence[Piece],
    rows: Sequence[Inputs],
) -> tuple[Trial, DataSeen]:  # fmt: skip
    """Formats on the kept rows as they would be sent, the module on those of the loader."""
    decision = trace.deployed.describe()
    precisions = {name: PRECISIONS.get(name, "float32") for name in runners}
    trial = Trial(runners, decision, metrics_of(run.trainer, run.reading), precisions)
    seen = DataSeen(len(run.names))
    module = behind_loader(trace.deployed)
    tested, own = eager(module), eager(uncalibrated(module))
    for piece, given in zip(pieces, rows, strict=True):
        answers = answered(tested, own, decision, arrays(shipped.named(piece.inputs)))
        trial.add(given, answers, batch=piece.batch)
        if piece.batch is not None:
            seen.add(piece.batch.target, None, piece.rows)
    return trial, seen


def alike(rows: Sequence[Inputs]) -> dict[str, Array]:
    """As many rows as there are of one shape."""
    shapes = [{name: array.shape[1:] for name, array in one.items()} for one in rows]
    usual = max(shapes, key=shapes.count)
    same = [one for one, shape in zip(rows, shapes, strict=True) if shape == usual]
    return {name: np.concatenate([one[name] for one in same]) for name in usual}
