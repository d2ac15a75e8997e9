"""The calibration report of a set: figures as the model has it, and as a calibrator makes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from lightning_posttrain.calibration.calibrators.base import Calibrator
from lightning_posttrain.calibration.calibrators.methods import check_method
from lightning_posttrain.calibration.functional.cross_fit import NONE, CrossFit, cross_fit, log_loss
from lightning_posttrain.calibration.functional.errors import calibration_figures
from lightning_posttrain.calibration.result import CalibrationFigures, CalibrationReport
from lightning_posttrain.classification import ScoreRows, Task

FITTED, FEWEST, MOST = 1 << 21, 2000, 1 << 23
"""Scores that are fitted to, rows at least, and scores of these at most: a fit to more takes seconds of each epoch."""


def checked_methods(method: str | Sequence[str], task: Task) -> tuple[str, ...]:
    """One method of calibration or several, as a tuple; raises ``ValueError`` for none, or one the task has not."""
    methods = (method,) if isinstance(method, str) else tuple(method)
    if not methods:
        raise ValueError("`method` has none, wanted 'temperature' or others.")
    for one in methods:
        check_method(one, task)
    return methods


def cross_fit_rows(methods: Sequence[str], rows: ScoreRows, task: Task, folds: int) -> CrossFit:
    """``cross_fit`` to so many of the rows as take no seconds; the held-out logits are of these."""
    classes = max(rows.scores.shape[1], 1)
    few = max(FITTED // classes, min(FEWEST, MOST // classes))
    # rows come in a random order, so the first are a sample too
    return cross_fit(methods, rows.scores[:few], rows.target[:few], task, folds)


def report_before(rows: ScoreRows, task: Task, *, bins: int) -> CalibrationReport:
    """Calibration errors, Brier score and log loss of the model's own probabilities."""
    return CalibrationReport(_figures(rows.scores, rows, task, bins), rows=len(rows.target), total=rows.total)


def report_cross_fitted(report: CalibrationReport, found: CrossFit, rows: ScoreRows, *, bins: int) -> CalibrationReport:
    """The report with the figures of held-out logits, where the calibrator is kept; rows it did not see are held out.

    Args:
        report: what ``report_before`` found.
        found: what ``cross_fit_rows`` found on the same rows.
        rows: the rows.
        bins: of the reliability diagram.
    """
    report = replace(report, reason=found.reason, held_out=True, fitted=len(found.held_out))
    if not found.kept:
        return report
    unseen = rows.scores[len(found.held_out) :]
    logits = torch.cat([found.held_out, found.calibrator(unseen)])
    return _after(report, found.calibrator, logits, rows, bins=bins)


def report_applied(
    report: CalibrationReport, calibrator: Calibrator, rows: ScoreRows, *, bins: int
) -> CalibrationReport:
    """The report with the figures after a calibrator that was fitted on other rows.

    Args:
        report: what ``report_before`` found.
        calibrator: from logits to logits; of ``Identity`` there is nothing to report but why.
        rows: the rows.
        bins: of the reliability diagram.
    """
    if calibrator.method == NONE:
        return replace(report, reason="nothing that was fitted on validation did better")
    return _after(report, calibrator, calibrator(rows.scores), rows, bins=bins)


def _after(
    report: CalibrationReport, calibrator: Calibrator, logits: Tensor, rows: ScoreRows, *, bins: int
) -> CalibrationReport:
    return replace(
        report,
        after=_figures(logits, rows, calibrator.task, bins),
        kept=True,
        method=calibrator.method,
        words=calibrator.describe(),
        parameters=calibrator.numbers(),
    )


def _figures(logits: Tensor, rows: ScoreRows, task: Task, bins: int) -> CalibrationFigures:
    labels = task == "multilabel"
    chance = logits.double().sigmoid() if labels else logits.double().softmax(1)
    figures = calibration_figures(
        chance, rows.target, bins=bins, binary=task == "binary", multilabel=labels, ignored=rows.ignored
    )
    # a probability may be too small for a float, its logarithm is not
    return replace(figures, log_loss=log_loss(logits, rows.target, task))
