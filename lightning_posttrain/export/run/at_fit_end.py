"""The export at the end of a fit, compared on rows of validation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from lightning_posttrain.core.stream.evaluation import Evaluation
from lightning_posttrain.export.decision import Decision
from lightning_posttrain.export.folder.places import beside
from lightning_posttrain.export.outputs import Outputs, Runner
from lightning_posttrain.export.parity.margins import margins
from lightning_posttrain.export.program import Traced
from lightning_posttrain.export.program.deployed import Deployed
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
from lightning_posttrain.export.run.row_form import as_rows
from lightning_posttrain.export.run.settings import Settings
from lightning_posttrain.export.run.shipping import (
    DataSeen,
    about_files,
    figures_with_intervals,
    manifest_of,
    remarks_of,
    weights_facts,
    with_parity,
    write_kept,
)
from lightning_posttrain.export.run.trial import TESTED, Trial
from lightning_posttrain.export.run.weights import weights_of
from lightning_posttrain.export.signature import Array

Inputs = Mapping[str, Array]
STAGE = "val"


def exported_at_fit_end(run: Context, last: Evaluation, *, kept: KeptRows, asked: AskedCall | None) -> ExportReport:
    """Export the chosen weights, and keep the formats that answer as the module does.

    Args:
        run: of the fit.
        last: its last validation.
        kept: rows of validation.
        asked: how the step asks its network.

    Raises:
        ValueError: there are no rows, no such weights, or the folder is not ours.
    """
    if asked is None or not kept.rows:
        raise ValueError("no row of validation was kept to compare on. Pass a validation loader with rows.")
    run.make_ready()
    shipped = _shipped(run, asked)
    pieces, aside = _apart(kept.pieces, run.settings)
    with beside(run.folder) as work:
        files = made(
            shipped, [raw(shipped.named(piece.inputs), run.settings) for piece in pieces], run.settings.formats, work,
            about=lambda trace: about_files(run, shipped, trace),
            calibration=[arrays(raw(shipped.named(piece.inputs), run.settings)) for piece in aside] or None,
        )  # fmt: skip
        return _compared_and_written(run, last, files, shipped, pieces)


def _shipped(run: Context, asked: AskedCall) -> Prepared:
    weights = weights_of(run.trainer, run.module, run.settings.weights)
    fitted = fitted_for(run.trainer, weights, run.reading, len(run.names))
    decision = decision_of(fitted, run.settings, task=run.reading.task, names=run.names)
    return prepared(weights, asked, fitted, decision, run.settings)


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
    if files.traced is not None and files.signature is not None:
        trial, seen = _tried(run, files.traced, files.runners, pieces, rows)
        reports = trial.reports(run.module, last)
        figures = {name: dict(report.overall) for name, report in reports.items()}
        formats = judged(files, trial, stage=STAGE, rows=alike(rows), metrics=figures)
        manifest = manifest_of(run.model_name, files.signature, shipped.decision, weights_facts(run, shipped))
        manifest = with_parity(
            manifest, formats, stage=STAGE, metrics=figures_with_intervals(reports.get(TESTED)), data=seen,
            statistics=inputs, reference=trial.drift_reference(),
        )  # fmt: skip
        wrote = write_kept(run.place, manifest, formats, files.folder)
    return ExportReport(
        run.folder.name, shipped.weights.words, formats, shipped.decision.words, inputs, shipped.decision.left_out,
        remarks_of(run.trainer.world_size, wrote=wrote),
    )  # fmt: skip


def _tried(
    run: Context, trace: Traced, runners: Mapping[str, Runner], pieces: Sequence[Piece], rows: Sequence[Inputs]
) -> tuple[Trial, DataSeen]:
    """Formats on the kept rows."""
    decision = trace.deployed.describe()
    precisions = {name: PRECISIONS.get(name, "float32") for name in runners}
    trial = Trial(runners, decision, metrics_of(run.trainer, run.reading), precisions)
    seen = DataSeen(len(run.names))
    tested, own = eager(trace.deployed), eager(uncalibrated(trace.deployed))
    for piece, given in zip(pieces, rows, strict=True):
        answers, margin = asked_with_margins(tested, own, decision, given)
        trial.add(given, answers, margin=margin, batch=piece.batch)
        if piece.batch is not None:
            seen.add(piece.batch.target, None, piece.rows)
    return trial, seen


def asked_with_margins(tested: Runner, own: Runner, decision: Decision, inputs: Inputs) -> tuple[Outputs, Array]:
    """What a module answers, a row for each decision, and how far each is from another.

    Args:
        tested: the module.
        own: the same without its calibration, whose probabilities decide.
        decision: how they do.
        inputs: by name.
    """
    labels = decision.task == "multilabel"
    plain = as_rows(own(inputs), labels=labels)
    return as_rows(tested(inputs), labels=labels), margins(plain.probabilities, decision)


def uncalibrated(deployed: Deployed) -> Deployed:
    """The same, whose probabilities are those of the network."""
    decision = replace(deployed.decision, calibration=None)
    return Deployed(deployed.network, decision, scores=deployed.scores, uint8=deployed.uint8).eval()


def alike(rows: Sequence[Inputs]) -> dict[str, Array]:
    """As many rows as there are of one shape."""
    shapes = [{name: array.shape[1:] for name, array in one.items()} for one in rows]
    usual = max(shapes, key=shapes.count)
    same = [one for one, shape in zip(rows, shapes, strict=True) if shape == usual]
    return {name: np.concatenate([one[name] for one in same]) for name in usual}
