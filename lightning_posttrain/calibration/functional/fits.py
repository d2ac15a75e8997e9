"""Calibrators fitted to logits. Rows that can tell nothing, as those whose own class is ruled out, have no say."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from lightning_posttrain.calibration.calibrators.base import Calibrator
from lightning_posttrain.calibration.calibrators.isotonic import IsotonicCalibration
from lightning_posttrain.calibration.calibrators.methods import check_method
from lightning_posttrain.calibration.calibrators.scaling import (
    Identity,
    PlattScaling,
    TemperatureScaling,
    VectorScaling,
)
from lightning_posttrain.calibration.functional.scale import best_scale, scale_of_classes
from lightning_posttrain.classification import Task

_STEPS = 100


def fit(method: str, logits: Tensor, target: Tensor, task: Task, *, near: Calibrator | None = None) -> Calibrator:
    """Fit a calibrator by the log loss of the rows, in float64.

    ``"temperature"`` has one number and suits every task; ``"vector"`` two for each class of a multiclass task;
    ``"platt"`` two for a binary task, or for each label; ``"isotonic"`` any rising line, for a binary task with a
    thousand rows or more. Where no row tells anything, the calibrator leaves logits as they are.

    Args:
        method: one of these.
        logits: ``(N, C)``; of a binary task ``(N, 2)``, ``(N,)`` or ``(N, 1)``; log-odds of labels ``(N, L)``.
        target: class ``(N,)``; for labels 0 or 1 ``(N, L)``, and -1 where one is not to be counted.
        task: what they mean.
        near: what the method gave for nearly the same rows, from where a temperature is found in fewer steps.

    Raises:
        ValueError: the task has no such method.
        ImportError: isotonic calibration without scikit-learn.

    Example:
        >>> logits = torch.tensor([[9.0, 0.0], [9.0, 0.0], [9.0, 0.0], [9.0, 0.0]])
        >>> fit("temperature", logits, torch.tensor([0, 0, 0, 1]), "multiclass").describe()
        'temperature 8.19: the network is too sure of itself'
    """
    check_method(method, task)
    # in validation Lightning is in inference mode, and what is made there could never be trained behind
    with torch.inference_mode(False), torch.no_grad():
        logits, target = logits.to(torch.float64, copy=logits.is_inference()), target.clone()
        if isinstance(near, TemperatureScaling) and method == near.method:
            return _temperature(logits, target, task, float(near.temperature))
        return _FITS[method](logits, target, task)


class _Margins(NamedTuple):
    """Margins, 0 or 1, and whether a row counts, each ``(N, L)`` float64; of a binary task ``L`` is 1."""

    margin: Tensor
    label: Tensor
    counted: Tensor


def margin_of(logits: Tensor, task: Task) -> Tensor:
    """The margin ``(N, 1)`` of a binary task, or the log-odds of labels ``(N, L)``."""
    if task == "binary" and logits.ndim == 2 and logits.shape[1] == 2:
        return logits[:, 1:] - logits[:, :1]
    return logits if logits.ndim == 2 else logits[:, None]


def _margins(logits: Tensor, target: Tensor, task: Task) -> _Margins:
    margin = margin_of(logits, task)
    label = target.reshape(margin.shape)
    counted = margin.isfinite() & (label >= 0)
    return _Margins(margin.where(counted, 0.0), (label == 1).double(), counted.double())


class _Classes(NamedTuple):
    """Logits, 0 where a class is ruled out ``(N, C)``, and where it is; the row's class ``(N,)``."""

    logits: Tensor
    ruled_out: Tensor
    target: Tensor

    def chances(self, scaled: Tensor) -> Tensor:
        """Logs of the probabilities for scaled logits ``(N, C)``."""
        return scaled.masked_fill(self.ruled_out, -torch.inf).log_softmax(dim=1)


def _classes(logits: Tensor, target: Tensor) -> _Classes:
    tells = logits.gather(1, target[:, None])[:, 0].isfinite()
    logits, target = logits[tells], target[tells]
    ruled_out = logits.isinf()
    return _Classes(logits.masked_fill(ruled_out, 0.0), ruled_out, target)


def _temperature(logits: Tensor, target: Tensor, task: Task, near: float | None = None) -> Calibrator:
    """The log loss is convex in one over the temperature, so its slope has one zero."""
    start = None if near is None else 1 / near
    if task == "multiclass":
        return TemperatureScaling(1 / scale_of_classes(logits, target, start), task)
    margins = _margins(logits, target, task)
    return TemperatureScaling(1 / best_scale(partial(_slope_of_margins, margins), start or 1.0), task)


def _slope_of_margins(rows: _Margins, scale: float) -> tuple[float, float]:
    chance = torch.sigmoid(scale * rows.margin)
    first = (chance - rows.label) * rows.margin * rows.counted
    return float(first.mean()), float((chance * (1 - chance) * rows.margin.square()).mean())


def _vector(logits: Tensor, target: Tensor, task: Task) -> Calibrator:
    """L-BFGS from the best temperature, so that it is no worse on these rows."""
    rows = _classes(logits, target)
    start = scale_of_classes(logits, target)
    scaled, number = start * rows.logits, max(len(rows.target), 1)
    learned = torch.stack([torch.ones(logits.shape[1]), torch.zeros(logits.shape[1])]).double()
    optimizer = torch.optim.LBFGS(
        [learned], max_iter=_STEPS, tolerance_grad=1e-8, tolerance_change=1e-9, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        log_chance = rows.chances(learned[0] * scaled + learned[1])
        own = log_chance.gather(1, rows.target[:, None])
        residual = log_chance.exp().scatter_add_(1, rows.target[:, None], -torch.ones_like(own))
        learned.grad = torch.stack([(residual * scaled).sum(dim=0), residual.sum(dim=0)]) / number
        return -own.sum() / number

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    return VectorScaling(start * learned[0], learned[1] - learned[1].mean(), task)


def _platt(logits: Tensor, target: Tensor, task: Task) -> Calibrator:
    """Newton's steps for all labels at once, on Platt's smoothed targets.

    (Platt, 1999; Lin, Lin and Weng, 2007, doi:10.1007/s10994-007-5018-6.) A label that is there in all rows, or in
    none, stays as it is.
    """
    rows = _margins(logits, target, task)
    number = rows.counted.sum(dim=0).clamp(min=1)
    there = (rows.label * rows.counted).sum(dim=0)
    absent = rows.counted.sum(dim=0) - there
    mean = (rows.margin * rows.counted).sum(dim=0) / number
    spread = ((rows.margin - mean).square() * rows.counted).sum(dim=0).div(number).sqrt()
    tells = (there > 0) & (absent > 0)
    spread = spread.where(spread > 0, 1.0)
    goal = torch.where(rows.label == 1, (there + 1) / (there + 2), 1 / (absent + 2))
    start = torch.stack([torch.zeros_like(mean), ((there + 1) / (absent + 1)).log()])
    found = _newton(_Margins((rows.margin - mean) / spread, goal, rows.counted), start)
    slope = torch.where(tells, found[0] / spread, 1.0)
    bias = torch.where(tells, found[1] - found[0] * mean / spread, 0.0)
    return PlattScaling(slope, bias, task) if task == "multilabel" else PlattScaling(slope[0], bias[0], task)


def _newton(rows: _Margins, line: Tensor) -> Tensor:
    """Slope and bias ``(2, L)`` of each label with the least log loss; a step is halved until it helps."""
    loss = _loss_of_line(rows, line)
    for _ in range(_STEPS):
        chance = torch.sigmoid(line[0] * rows.margin + line[1])
        off, curve = (chance - rows.label) * rows.counted, chance * (1 - chance) * rows.counted
        slope = torch.stack([(off * rows.margin).sum(dim=0), off.sum(dim=0)])
        a, b, c = ((curve * rows.margin**power).sum(dim=0) for power in (2, 1, 0))
        a, c = a + 1e-12, c + 1e-12
        step = torch.stack([c * slope[0] - b * slope[1], a * slope[1] - b * slope[0]]) / (a * c - b * b)
        gain = (slope * step).sum(dim=0)
        if not bool((gain > 1e-13 * len(rows.margin)).any()):
            break
        part = torch.ones_like(gain)
        for _ in range(30):
            tried = _loss_of_line(rows, line - part * step)
            worse = tried > loss - 1e-4 * part * gain + 1e-12 * loss.abs()
            if not bool(worse.any()):
                break
            part = torch.where(worse, part / 2, part)
        line, loss = line - part * step, tried
    return line


def _loss_of_line(rows: _Margins, line: Tensor) -> Tensor:
    margin = line[0] * rows.margin + line[1]
    return ((F.softplus(margin, threshold=40) - rows.label * margin) * rows.counted).sum(dim=0)


def _isotonic(logits: Tensor, target: Tensor, task: Task) -> Calibrator:
    try:
        from sklearn.isotonic import IsotonicRegression
    except ImportError as error:
        raise ImportError(
            'method "isotonic" needs scikit-learn: pip install "lightning-posttrain[sklearn]", or take "platt"'
        ) from error
    rows = _margins(logits, target, task)
    counted = rows.counted > 0
    if not bool(counted.any()):
        return Identity(task)
    line = IsotonicRegression(out_of_bounds="clip").fit(rows.margin[counted].numpy(), rows.label[counted].numpy())
    return IsotonicCalibration(torch.from_numpy(line.X_thresholds_), torch.from_numpy(line.y_thresholds_), task)


_FITS: dict[str, Callable[[Tensor, Tensor, Task], Calibrator]] = {
    "temperature": _temperature,
    "vector": _vector,
    "platt": _platt,
    "isotonic": _isotonic,
}
