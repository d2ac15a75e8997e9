"""The export at the end of a fit, compared on rows of validation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from lightning_posttrain.classification import EvalBatch
from lightning_posttrain.core.stream.evaluation import Evaluation
from lightning_posttrain.export.folder.places import beside
from lightning_posttrain.export.outputs import Runner
from lightning_posttrain.export.program import Traced
from lightning_posttrain.export.result import ExportReport
from lightning_posttrain.export.run.asked_call import AskedCall
from lightning_posttrain.export.run.context import Context
from lightning_posttrain.export.run.figures import metrics_of
from lightning_posttrain.export.run.fitted import fitted_for
from lightning_posttrain.export.run.judged import Judge, not_run
from lightning_posttrain.export.run.kept_rows import KeptRows, Piece
from lightning_posttrain.export.run.making import PRECISIONS, Made, made
from lightning_posttrain.export.run.prepared import Prepared, prepared
from lightning_posttrain.export.run.raw_inputs import arrays, raw_inputs
from lightning_posttrain.export.run.row_form import Inputs
from lightning_posttrain.export.run.settings import Settings
from lightning_posttrain.export.run.shipping import (
    NOTHING_KEPT,
    about_files,
    manifest_of,
    report_of,
    weights_facts,
    with_parity,
    write_kept,
)
from lightning_posttrain.export.run.tested import answered, behind_loader, uncalibrated
from lightning_posttrain.export.run.trial import Trial
from lightning_posttrain.export.run.weights import weights_of
from lightning_posttrain.export.signature import Array

Row = tuple[Inputs, Inputs, EvalBatch | None]
"""Some rows of a batch as the graph takes them, as the loader gave them, and as they were read."""
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
    weights = weights_of(run.trainer, run.module, said=run.settings.weights)
    shipped = prepared(weights, asked, fitted_for(run, weights), uint8=run.settings.uint8)
    pieces, aside = _apart(kept.pieces, run.settings)
    examples = [raw_inputs(piece.inputs, shipped.slots, run.settings) for piece in pieces]
    with beside(run.folder) as work:
        files = made(
            shipped, examples, run.settings.formats, work, about=lambda trace: about_files(run, shipped, trace),
            calibration=[arrays(raw_inputs(piece.inputs, shipped.slots, run.settings)) for piece in aside] or None,
        )  # fmt: skip
        given = [arrays({name: piece.inputs[path] for name, path in shipped.slots.items()}) for piece in pieces]
        rows = [(arrays(one), two, piece.batch) for one, two, piece in zip(examples, given, pieces, strict=True)]
        return _compared_and_written(run, last, files, shipped, rows)


def _apart(pieces: Sequence[Piece], settings: Settings) -> tuple[list[Piece], list[Piece]]:
    """Rows to compare on, and others to calibrate a quantisation with."""
    if not settings.calibrates or len(pieces) < 2:
        return list(pieces), []
    return list(pieces[::2]), list(pieces[1::2])


def _compared_and_written(
    run: Context, last: Evaluation, files: Made, shipped: Prepared, rows: Sequence[Row]
) -> ExportReport:
    if files.traced is None:
        formats = tuple(not_run(files))
        return report_of(run, shipped.weights.words, shipped.decision, formats=formats, trial=None, remark=NOTHING_KEPT)
    trial = _tried(run, files.traced, files.runners, rows)
    reports = trial.reports(run.module, last)
    formats = Judge(trial, STAGE, reports).made_now(files, alike([inputs for inputs, *_ in rows]))
    facts = weights_facts(run, shipped)
    manifest = manifest_of(run.model_name, files.traced.signature, shipped.decision, facts)
    manifest = with_parity(manifest, formats, trial, stage=STAGE, reports=reports)
    remark = write_kept(run.place, manifest, formats, files.folder)
    return report_of(run, shipped.weights.words, shipped.decision, formats=formats, trial=trial, remark=remark)


def _tried(run: Context, trace: Traced, runners: Mapping[str, Runner], rows: Sequence[Row]) -> Trial:
    """Formats on the kept rows as they would be sent, the module on those of the loader."""
    decision = trace.deployed.describe()
    trial = Trial(runners, decision, metrics_of(run), {name: PRECISIONS.get(name, "float32") for name in runners})
    module = behind_loader(trace.deployed)
    own = uncalibrated(module)
    for inputs, as_given, batch in rows:
        trial.add(inputs, answered(module, own, decision, as_given), batch=batch)
    return trial


def alike(rows: Sequence[Inputs]) -> dict[str, Array]:
    """As many rows as there are of one shape."""
    shapes = [{name: array.shape[1:] for name, array in one.items()} for one in rows]
    usual = max(shapes, key=shapes.count)
    same = [one for one, shape in zip(rows, shapes, strict=True) if shape == usual]
    return {name: np.concatenate([one[name] for one in same]) for name in usual}
