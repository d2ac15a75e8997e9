"""Every calibrator and every rule for thresholds on the same folds, each row judged by fits to other rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from lightning_posttrain.calibration import Calibrator, Identity, fit_calibrator, row_losses
from lightning_posttrain.classification import Task
from lightning_posttrain.thresholds import Objective, choose_thresholds, operating
from lightning_posttrain.tuning.functional.decisions import HALF, decide, labels_of, probabilities_of

NONE = Identity.method
Scores: TypeAlias = Callable[[int | None], Tensor]
"""Logits ``(N, C)`` of all rows, by what was fitted without a fold; of None, by what was fitted to all rows."""


@dataclass(frozen=True, eq=False)
class Rows:
    """The rows that all is judged on.

    Args:
        target: as ``tune_knobs`` takes it.
        labels: 0 or 1, -1 for what is not counted ``(N, L)``.
        fold: of each row ``(N,)``.
        task: what they mean.
    """

    target: Tensor
    labels: Tensor
    fold: Tensor
    task: Task

    @classmethod
    def of(cls, target: Tensor, fold: Tensor, task: Task, classes: int) -> Rows:
        """With the labels of a target."""
        return cls(target, labels_of(target, task, classes), fold, task)

    @property
    def folds(self) -> list[Tensor]:
        """The rows of each fold ``(N,)`` bool."""
        return [self.fold == number for number in range(int(self.fold.max()) + 1)]


@dataclass(frozen=True, eq=False)
class Calibrated:
    """One table of scores behind one calibrator.

    Args:
        whole: fitted to all rows.
        by_fold: probabilities of all rows ``(N, L)`` by the calibrator that was fitted without each fold.
        losses: log loss of each row by the calibrator that did not see it ``(N,)``; their mean is that of the set.
    """

    whole: Calibrator
    by_fold: list[Tensor]
    losses: Tensor


def calibrated(method: str, scores: Scores, rows: Rows) -> Calibrated:
    """Fit a calibrator without each fold, and to all rows.

    Args:
        method: ``"none"`` or one of ``fit_calibrator``.
        scores: by fold, so that what gave them is fitted to the same rows as the calibrator.
        rows: which.
    """
    whole = _fit(method, scores(None), rows.target, rows.task)
    held_out, by_fold = torch.empty_like(scores(None)), []
    for number, left in enumerate(rows.folds):
        logits = scores(number)
        found = _fit(method, logits[~left], rows.target[~left], rows.task, near=whole)(logits)
        held_out[left] = found[left]
        by_fold.append(probabilities_of(found, rows.task))
    return Calibrated(whole, by_fold, of_rows(row_losses(held_out, rows.target, rows.task)))


def _fit(method: str, logits: Tensor, target: Tensor, task: Task, *, near: Calibrator | None = None) -> Calibrator:
    return Identity(task) if method == NONE else fit_calibrator(method, logits, target, task, near=near)


def of_rows(losses: Tensor) -> Tensor:
    """What each row adds ``(N,)`` to the mean over labels of their means, from losses ``(N, L)``; NaN is not counted.

    Example:
        >>> of_rows(torch.tensor([[1.0, 4.0], [3.0, torch.nan]])).tolist()
        [4.5, 1.5]
    """
    counted = (~losses.isnan()).sum(dim=0)
    each: Tensor = losses.nan_to_num(0.0) * len(losses) / counted.clamp(min=1)
    return each[:, counted > 0].mean(dim=1)


def decisions(found: Calibrated, rows: Rows, objective: Objective | None) -> Tensor:
    """What is said of each row ``(N, L)`` bool, at thresholds that other rows chose for an objective.

    Args:
        found: probabilities.
        rows: which.
        objective: None for no thresholds.
    """
    said = torch.empty_like(rows.labels, dtype=torch.bool)
    for left, chances in zip(rows.folds, found.by_fold, strict=True):
        thresholds = None
        if objective is not None:
            thresholds = choose_thresholds(chances[~left], rows.labels[~left], objective).thresholds
        said[left] = decide(chances[left], thresholds, rows.task)
    return said


def judged(said: Tensor, rows: Rows, objective: Objective) -> tuple[float, bool]:
    """The objective's mean over labels, and whether its constraint holds for all of them."""
    half = torch.full((said.shape[1],), HALF, dtype=torch.float64)
    found = operating(said.double(), rows.labels, half, objective)
    return found.value, bool(found.met.all())


def right(said: Tensor, rows: Rows) -> float:
    """Share of rows with the right class; of labels, of those that are right."""
    if rows.task == "multiclass":
        return float((said.long().argmax(dim=1) == rows.target).double().mean())
    counted = rows.labels >= 0
    return float((said == (rows.labels == 1))[counted].double().mean())


def difference(losses: Tensor, others: Tensor) -> tuple[float, float]:
    """Mean of ``others - losses`` over rows, and its standard error: both of the same rows, so of the differences."""
    apart = others - losses
    return float(apart.mean()), float(apart.std() / len(apart) ** 0.5)


def simplest(losses: Sequence[Tensor]) -> int:
    """The first whose mean loss is within one standard error, of the differences, of the least."""
    least = min(losses, key=lambda each: float(each.mean()))
    for place, each in enumerate(losses):
        worse, error = difference(least, each)
        if worse <= error:
            return place
    raise AssertionError("the least is as good as itself")
