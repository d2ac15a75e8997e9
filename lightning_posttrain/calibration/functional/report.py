"""The calibration report of a set: figures as the model has it, and as a calibrator makes them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain

import torch
from torch import Tensor

from lightning_posttrain.calibration.calibrators.base import Calibrator
from lightning_posttrain.calibration.calibrators.methods import check_method
from lightning_posttrain.calibration.functional.cross_fit import NONE, CrossFit, cross_fit, row_losses
from lightning_posttrain.calibration.functional.errors import Piece, figures_of_pieces
from lightning_posttrain.calibration.functional.passes import split
from lightning_posttrain.calibration.result import CalibrationFigures, CalibrationReport
from lightning_posttrain.classification import ScoreRows, Task

SMALL = 1e-290
"""A probability below which a float64 has fewer digits."""
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
    figures = _figures(split(rows.scores), rows, task, bins)
    return CalibrationReport(figures, rows=len(rows.target), total=rows.total)


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
    logits = chain(split(found.held_out), map(found.calibrator, split(unseen)))
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
    return _after(report, calibrator, map(calibrator, split(rows.scores)), rows, bins=bins)


def _after(
    report: CalibrationReport, calibrator: Calibrator, logits: Iterable[Tensor], rows: ScoreRows, *, bins: int
) -> CalibrationReport:
    return replace(
        report,
        after=_figures(logits, rows, calibrator.task, bins),
        kept=True,
        method=calibrator.method,
        words=calibrator.describe(),
        parameters=calibrator.numbers(),
    )


def _figures(logits: Iterable[Tensor], rows: ScoreRows, task: Task, bins: int) -> CalibrationFigures:
    """Figures of logits that come in pieces, in the order of the rows."""
    labels = task == "multilabel"
    return figures_of_pieces(
        _pieces(logits, rows.target, task), rows.scores.shape[1],
        bins=bins, binary=task == "binary", multilabel=labels, ignored=rows.ignored,
    )  # fmt: skip


def _pieces(logits: Iterable[Tensor], target: Tensor, task: Task) -> Iterator[Piece]:
    start = 0
    for some in logits:
        own = target[start : start + len(some)]
        start += len(some)
        chance = some.double().sigmoid() if task == "multilabel" else some.softmax(1, dtype=torch.float64)
        yield Piece(chance, own, _losses(chance, some, own, task))


def _losses(chance: Tensor, logits: Tensor, target: Tensor, task: Task) -> Tensor:
    """Log losses of rows; a probability may be too small for a float, its logarithm is not."""
    if task != "multiclass":
        return row_losses(logits, target, task)
    own = chance.gather(1, target[:, None])
    small = (own[:, 0] < SMALL).nonzero()[:, 0]
    loss = -own.log()
    return loss.index_copy_(0, small, row_losses(logits[small], target[small], task)) if len(small) else loss
