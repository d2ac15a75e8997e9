"""Compare figures with those that the module itself logs of the same rows."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_posttrain.classification.batch import EvalBatch
from lightning_posttrain.classification.functional.confusion import class_counts
from lightning_posttrain.classification.result.confusion import Confusion
from lightning_posttrain.core.output.result import Result
from lightning_posttrain.core.statistics.precision import CLOSE, wide

STAGES = {"val", "valid", "validation", "test", "eval", "epoch", "step", "the", "metrics", "cls"}
ACCURACY = {"acc", "accuracy", "top1", "acc1", "accuracy1"}
KINDS = {"micro", "macro", "weighted", "balanced", "mean", "overall", "average", "multiclass", "binary", "score"}
LOSS = {"loss", "ce", "nll", "crossentropy", "logloss"}


class Figures(NamedTuple):
    """Ours, of some rows: every accuracy that theirs may be, and the log loss, or None."""

    accuracies: tuple[float, ...]
    log_loss: float | None = None


def figure_of(name: str, target: str = "") -> str:
    """Which figure a name that a module logs under says: ``"accuracy"``, ``"loss"`` or nothing.

    Example:
        >>> figure_of("val_acc"), figure_of("test/cls/Acc"), figure_of("val_acc_top5"), figure_of("val/loss")
        ('accuracy', 'accuracy', '', 'loss')
    """
    words = re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()
    left = {word for word in re.split(r"[^a-z0-9]+", words) if word} - STAGES - set(target.lower().split("_"))
    if left & ACCURACY and left <= ACCURACY | KINDS:
        return "accuracy"
    return "loss" if left and left <= LOSS else ""


def of_batch(batch: EvalBatch) -> Figures:
    """Ours of one batch; values are read on the host."""
    right, counted = batch.predicted == batch.target, batch.counted
    if not bool(counted.any()):
        return Figures(())
    if batch.multilabel:
        rows = counted.all(1)
        whole = (right | ~counted).all(1)[rows]
        return Figures((float(wide(right[counted]).mean()), float(wide(whole).mean()) if len(whole) else float("nan")))
    target, predicted = batch.target[counted], batch.predicted[counted]
    loss = -torch.log_softmax(wide(batch.scores[counted]), 1).gather(1, target[:, None]).mean()
    return Figures(_accuracies(*_of_classes(target, predicted, batch.num_classes)), float(loss))


def _of_classes(target: Tensor, predicted: Tensor, classes: int) -> tuple[Tensor, Tensor, Tensor]:
    """Of each class the rows that are of it, predicted so, and both, each ``(C,)``."""
    chosen = (target, predicted, target[target == predicted])
    rows, columns, right = (torch.bincount(each, minlength=classes) for each in chosen)
    return rows, columns, right


def of_results(results: Iterable[Result], log_loss: float | None) -> Figures:
    """Ours of an epoch, where the matrix of confusions was counted."""
    confusion = next((result for result in results if isinstance(result, Confusion)), None)
    if confusion is None:
        return Figures((), log_loss)
    counts = class_counts(confusion)
    return Figures(_accuracies(counts.support, counts.predicted, counts.true_positive), log_loss)


def _accuracies(rows: Tensor, columns: Tensor, right: Tensor) -> tuple[float, ...]:
    """Over all rows, and the means over classes as scikit-learn, and as torchmetrics, have them; NaN of no rows.

    Args:
        rows: of each class ``(C,)``.
        columns: rows predicted as each.
        right: rows that are both.
    """
    rows, columns, right = (each.double() for each in (rows, columns, right))
    recall = torch.where(rows > 0, right / rows.clamp(min=1), 0.0)
    there, seen = (rows > 0).sum(), ((rows > 0) | (columns > 0)).sum()
    means = (right.sum() / rows.sum(), recall.sum() / there, recall.sum() / seen, recall.mean())
    return tuple(float(mean) for mean in means)


def agreements(ours: Figures, logged: Mapping[str, float], target: str = "") -> list[str]:
    """What of ours is the module's own too, in sentences."""
    said = []
    for name, theirs in logged.items():
        apart = _apart(ours, figure_of(name, target), theirs)
        if apart is not None and apart <= CLOSE:
            what = "accuracy" if figure_of(name, target) == "accuracy" else "log loss"
            said.append(f"{what} agrees with the module's {name} to {max(apart, 1e-7):.0e}")
    return said


def contradictions(ours: Figures, logged: Mapping[str, float], target: str = "") -> list[str]:
    """What a module calls an accuracy and is none of ours, in sentences.

    Losses may have weights and other terms, and contradict nothing.
    """
    said = []
    for name, theirs in logged.items():
        apart = _apart(ours, "accuracy", theirs) if figure_of(name, target) == "accuracy" else None
        if apart is not None and apart > CLOSE:
            mine = f"{ours.accuracies[0]:.4g}"
            said.append(f"the module logs {name} {theirs:.4g}, and the accuracy of the same rows is {mine}")
    return said


def _apart(ours: Figures, figure: str, theirs: float) -> float | None:
    """How far the nearest of ours is from theirs, which may be a percentage; None where there is nothing to compare."""
    if figure == "loss":
        return None if ours.log_loss is None else abs(ours.log_loss - theirs)
    if figure != "accuracy" or not ours.accuracies:
        return None
    return min(abs(one - value) for one in ours.accuracies for value in (theirs, theirs / 100))
