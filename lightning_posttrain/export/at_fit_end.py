"""The export at the end of a fit, compared on rows of validation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lightning_posttrain.classification import ClassReading
from lightning_posttrain.core.callback.fitted_on_validation import mark_of
from lightning_posttrain.core.stream.evaluation import Evaluation
from lightning_posttrain.export.asked_call import AskedCall
from lightning_posttrain.export.decision import Decision
from lightning_posttrain.export.figures import metrics_of
from lightning_posttrain.export.fitted import fitted_for
from lightning_posttrain.export.folder.places import beside, check_place, tidy
from lightning_posttrain.export.judged import judged, not_run
from lightning_posttrain.export.kept_rows import KeptRows, Piece
from lightning_posttrain.export.making import PRECISIONS, Made, eager, made
from lightning_posttrain.export.outputs import Outputs, Runner
from lightning_posttrain.export.parity.margins import margins
from lightning_posttrain.export.prepared import Prepared, decision_of, prepared
from lightning_posttrain.export.program.deployed import Deployed
from lightning_posttrain.export.raw_inputs import arrays, raw, statistics_of
from lightning_posttrain.export.result import ExportReport, FormatParity
from lightning_posttrain.export.row_form import as_rows
from lightning_posttrain.export.settings import Settings
from lightning_posttrain.export.shipping import (
    DataSeen,
    figures_with_intervals,
    manifest_of,
    text_for_files,
    weights_facts,
    with_parity,
    write_kept,
)
from lightning_posttrain.export.signature import Array
from lightning_posttrain.export.trial import TESTED, Trial
from lightning_posttrain.export.weights import weights_of

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule, Trainer

Inputs = Mapping[str, Array]
STAGE = "val"
NOTHING_KEPT = "no format is kept, so nothing was written to the folder"


def exported_at_fit_end(
    trainer: Trainer,
    module: LightningModule,
    reading: ClassReading,
    last: Evaluation,
    settings: Settings,
    *,
    kept: KeptRows,
    asked: AskedCall | None,
    place: str,
    names: tuple[str, ...],
) -> ExportReport:
    """Export the chosen weights, and keep the formats that answer as the module does.

    Args:
        trainer: of the run.
        module: of it.
        reading: of its scores.
        last: the last validation.
        settings: what the user said.
        kept: rows of validation.
        asked: how the step asks its network.
        place: the folder.
        names: of the classes.

    Raises:
        ValueError: there are no rows, no such weights, or the folder is not ours.
    """
    if asked is None or not kept.rows:
        raise ValueError("no row of validation was kept to compare on. Pass a validation loader with rows.")
    tidy(Path(place).resolve())
    check_place(place)
    weights = weights_of(trainer, module, settings.weights)
    fitted = fitted_for(trainer, weights, reading, len(names))
    decision = decision_of(fitted, settings, task=reading.task, names=names)
    shipped = prepared(weights, asked, fitted, decision, settings)
    pieces, calibration = _apart(kept.pieces, settings)
    rows = [raw(shipped.named(piece.inputs), settings) for piece in pieces]
    facts = weights_facts(weights.facts, weights.words, mark_of(weights.module), uint8=settings.uint8)
    name = type(module).__name__
    with beside(Path(place).resolve()) as work:
        files = made(
            shipped, rows, settings.formats, work,
            about=lambda trace: text_for_files(name, trace, shipped.decision, facts),
            calibration=[arrays(raw(shipped.named(piece.inputs), settings)) for piece in calibration] or None,
        )  # fmt: skip
        given = [arrays(one) for one in rows]
        formats, extra = _compared(files, shipped, pieces, given, trainer, module, reading, last)
        wrote = False
        if files.signature is not None:
            manifest = manifest_of(name, files.signature, shipped.decision, facts)
            manifest = with_parity(manifest, formats, stage=STAGE, statistics=statistics_of(given), **extra)
            wrote = write_kept(place, manifest, formats, work)
    return ExportReport(
        Path(place).name, weights.words, formats, shipped.decision.words, statistics_of(given), fitted.left_out,
        () if wrote else (NOTHING_KEPT,),
    )  # fmt: skip


def _apart(pieces: Sequence[Piece], settings: Settings) -> tuple[list[Piece], list[Piece]]:
    """Rows to compare on, and others to calibrate a quantisation with."""
    if not settings.calibrates or len(pieces) < 2:
        return list(pieces), []
    return list(pieces[::2]), list(pieces[1::2])


def _compared(
    files: Made, shipped: Prepared, pieces: Sequence[Piece], rows: Sequence[dict[str, Array]], trainer: Trainer,
    module: LightningModule, reading: ClassReading, last: Evaluation,
) -> tuple[tuple[FormatParity, ...], dict[str, Any]]:  # fmt: skip
    """What each format amounts to on kept rows, and what the manifest says of these."""
    metrics = metrics_of(trainer, reading)
    precisions = {name: PRECISIONS.get(name, "float32") for name in files.runners}
    trial = Trial(files.runners, shipped.decision, metrics, precisions)
    seen = DataSeen(len(shipped.decision.class_names))
    if files.traced is None:
        return tuple(not_run(files)), {"metrics": {}, "data": seen}
    tested, own = eager(files.traced.deployed), eager(uncalibrated(files.traced.deployed))
    for piece, given in zip(pieces, rows, strict=True):
        answers, margin = asked_with_margins(tested, own, shipped.decision, given)
        trial.add(given, answers, margin=margin, batch=piece.batch)
        if piece.batch is not None:
            seen.add(piece.batch.target, None, piece.rows)
    reports = trial.reports(module, last)
    figures = {name: dict(report.overall) for name, report in reports.items()}
    some = max(rows, key=lambda one: len(next(iter(one.values()))))
    formats = judged(files, trial, stage=STAGE, rows=joined(rows, some), metrics=figures)
    values = figures_with_intervals(reports[TESTED]) if TESTED in reports else {}
    return formats, {"metrics": values, "data": seen, "reference": trial.drift_reference()}


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


def joined(rows: Sequence[Inputs], some: Inputs) -> dict[str, Array]:
    """All rows of the shape of some."""
    shapes = {name: array.shape[1:] for name, array in some.items()}
    alike = [one for one in rows if all(one[name].shape[1:] == shape for name, shape in shapes.items())]
    return {name: np.concatenate([one[name] for one in alike]) for name in some}


