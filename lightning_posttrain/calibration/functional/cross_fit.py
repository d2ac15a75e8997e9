"""Whether a calibrator helps rows that it was not fitted to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from lightning_posttrain.calibration.calibrators.base import Calibrator
from lightning_posttrain.calibration.calibrators.methods import check_method
from lightning_posttrain.calibration.calibrators.scaling import Identity, TemperatureScaling
from lightning_posttrain.calibration.functional.fits import fit, margin_of
from lightning_posttrain.calibration.functional.passes import split_both
from lightning_posttrain.calibration.functional.scale import scales_without_each
from lightning_posttrain.classification import Task
from lightning_posttrain.core.output.result import listed
from lightning_posttrain.core.statistics.precision import LARGEST_LOSS

NONE = Identity.method
TITLES = {
    "temperature": "temperature scaling",
    "vector": "vector scaling",
    "platt": "Platt scaling",
    "isotonic": "isotonic calibration",
}


@dataclass(frozen=True, eq=False)
class CrossFit:
    """The calibrator that helps most on rows that it was not fitted to, if one does.

    Args:
        method: the best, also where it is not kept; None where none could be tried.
        kept: whether its log loss is strictly lower than without.
        calibrator: fitted to all rows; where none is kept, one that changes nothing.
        held_out: logits ``(N, C)`` float64, each row adjusted by a fit to the other folds; as they were where none is
            kept.
        losses: the log loss of those of each method, and without as ``"none"``.
        reason: why none is kept, or which was left out; empty where there is nothing to say.
    """

    method: str | None
    kept: bool
    calibrator: Calibrator
    held_out: Tensor
    losses: dict[str, float]
    reason: str


def cross_fit(methods: Sequence[str], logits: Tensor, target: Tensor, task: Task, folds: int = 5) -> CrossFit:
    """Fit calibrators to all folds but one, judge each by the log loss of that one, and fit the best to all rows.

    Rows go to folds by a permutation with a seed of its own. For a network that is calibrated already, temperature
    scaling still wins by chance in about one of five sets, with a temperature near 1.

    Args:
        methods: as ``fit`` takes them.
        logits: as ``fit`` takes them, with a column at least.
        target: as ``fit`` takes them.
        task: what they mean.
        folds: how many.

    Raises:
        ValueError: the task has no such method, or there is none.
        ImportError: isotonic calibration without scikit-learn.

    Example:
        >>> logits = 3 * torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).repeat(50, 1)
        >>> target = (torch.arange(100) + (torch.arange(100) % 5 == 0)) % 2
        >>> found = cross_fit(["temperature"], logits, target, "multiclass")
        >>> found.kept, found.calibrator.describe()
        (True, 'temperature 4.33: the network is too sure of itself')
    """
    for method in methods:
        check_method(method, task)
    if not methods or folds < 2:
        raise ValueError(f"`methods` is {methods!r} and `folds` {folds}, wanted a method and two folds at least.")
    with torch.inference_mode(False), torch.no_grad():
        logits, target = logits.to(torch.float64, copy=True), target.clone()
        fold = folds_of(len(logits), folds)
        losses = {NONE: log_loss(logits, target, task)}
        tried, said = possible_methods(methods, logits, target.cpu(), task, fold, folds)
        fits = {method: fit(method, logits, target, task) for method in tried}
        adjusted = {method: _held_out(method, fits[method], logits, target, task, fold) for method in tried}
        losses.update({method: log_loss(values, target, task) for method, values in adjusted.items()})
        best = min(tried, key=lambda method: losses[method], default=None)
        if best is not None and losses[best] < losses[NONE]:
            return CrossFit(best, True, fits[best], adjusted[best], losses, said)
        refused = "" if best is None else _refused(best, losses)
        reason = "; ".join(part for part in (refused, said) if part)
        return CrossFit(best, False, Identity(task), logits, losses, reason)


def log_loss(logits: Tensor, target: Tensor, task: Task) -> float:
    """Mean of minus the log of the probability of what came true; for labels the mean of theirs.

    Args:
        logits: ``(N, C)``; of a binary task also ``(N, 1)``.
        target: class ``(N,)``; for labels ``(N, L)``, and -1 where one is not to be counted.
        task: what they mean.

    Example:
        >>> round(log_loss(torch.zeros(4, 2), torch.tensor([0, 1, 1, 1]), "binary"), 4)
        0.6931
    """
    return float(row_losses(logits, target, task).nanmean(dim=0).nanmean())


def row_losses(logits: Tensor, target: Tensor, task: Task) -> Tensor:
    """Minus the log of the probability of what came true, float64: ``(N, 1)``, of labels ``(N, L)``.

    Of a probability of 0 it is 36; of a label that is not to be counted NaN.

    Args:
        logits: ``(N, C)``; of a binary task also ``(N, 1)``.
        target: class ``(N,)``; for labels ``(N, L)``, and -1 where one is not to be counted.
        task: what they mean.

    Example:
        >>> row_losses(torch.zeros(1, 2), torch.tensor([[1, -1]]), "multilabel").round(decimals=4).tolist()
        [[0.6931, nan]]
    """
    if task == "multiclass":
        loss = -_own_log_chances(logits, target[:, None])
        counted = torch.ones_like(loss, dtype=torch.bool)
    else:
        margin = margin_of(logits, task).double()
        label = target.reshape(margin.shape)
        loss, counted = -F.logsigmoid(torch.where(label == 1, margin, -margin)), label >= 0
    return loss.masked_fill(loss == torch.inf, LARGEST_LOSS).where(counted, torch.nan)


def _own_log_chances(logits: Tensor, target: Tensor) -> Tensor:
    """Log of the probability of each row's class ``(N, 1)`` float64, some rows at a time."""
    pairs = split_both(logits, target)
    return torch.cat([some.double().log_softmax(dim=1).gather(1, own) for some, own in pairs])


def folds_of(rows: int, folds: int) -> Tensor:
    """Which fold each row is in ``(N,)``, at random, always in the same way."""
    order = torch.randperm(rows, generator=torch.Generator().manual_seed(0))
    return order % folds


def _held_out(method: str, whole: Calibrator, logits: Tensor, target: Tensor, task: Task, fold: Tensor) -> Tensor:
    """Each row adjusted by a fit to the other folds, which is near that to the whole."""
    if method == TemperatureScaling.method and task == "multiclass":
        scales = scales_without_each(logits, target, fold, 1 / float(whole.numbers()[method]))
        each = torch.stack([TemperatureScaling(1 / scale, task).temperature for scale in scales])
        return logits / each.double()[fold, None].to(logits.device)
    adjusted = torch.empty_like(logits)
    for number in range(int(fold.max()) + 1):
        left = fold == number
        adjusted[left] = fit(method, logits[~left], target[~left], task, near=whole)(logits[left])
    return adjusted


def possible_methods(
    methods: Sequence[str], logits: Tensor, target: Tensor, task: Task, fold: Tensor, folds: int
) -> tuple[list[str], str]:
    """The methods that every fit has enough rows for, and why the others were left out."""
    if len(logits) < 2 * folds:
        return [], f"{len(logits)} rows are too few to fit a calibration to, wanted {2 * folds} at least"
    elsewhere = _rows_elsewhere(target, fold, folds, logits.shape[1] if task == "multiclass" else 2)
    if bool(((elsewhere > 0).sum(dim=1) < 2).any()):
        return [], "too few rows of more than one class to fit a calibration to"
    lacking = (elsewhere == 0).any(dim=0).nonzero()[:, 0].tolist()
    if not lacking or "vector" not in methods:
        return list(methods), ""
    said = f"vector scaling is left out, too few rows of class {listed(list(map(str, lacking)))}"
    return [method for method in methods if method != "vector"], said


def _rows_elsewhere(target: Tensor, fold: Tensor, folds: int, classes: int) -> Tensor:
    """Rows of each class outside each fold ``(F, C)``."""
    counted = target >= 0
    place = fold.reshape(-1, *(1,) * (target.ndim - 1)).expand_as(target)[counted] * classes + target[counted]
    inside = torch.bincount(place, minlength=folds * classes).view(folds, classes)
    return inside.sum(dim=0) - inside


def _refused(method: str, losses: dict[str, float]) -> str:
    after, before = (f"{losses[name]:.4g}" for name in (method, NONE))
    if after == before:
        return f"{TITLES[method]} would leave the log loss at {before}; not kept"
    return f"{TITLES[method]} would make the log loss {after} instead of {before}; not kept"
