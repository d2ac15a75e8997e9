"""Heard scores and targets in the form that a reading takes."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_posttrain.classification.tasks import NO_CLASS, Task
from lightning_posttrain.core.capture.batch_parts import PartSource


def arranged(prediction: Tensor, target: Tensor, task: Task, source: PartSource | None) -> tuple[Tensor, Tensor]:
    """Scores and class indices as a reading takes them: ``(N, C, ...)`` with ``(N, ...)``, or one shape for labels.

    Args:
        prediction: as it was heard.
        target: as it was heard, or the part of the batch that it is.
        task: what they mean.
        source: of the target; of ``"one-hot"`` form the target may be so.
    """
    if task == "multiclass" and target.ndim == prediction.ndim >= 2 and target.shape == prediction.shape:
        target = target.argmax(1)  # one-hot
    elif task == "multiclass" and source is not None and source.form == "one-hot":
        target = target.argmax(1) if target.ndim == 2 and target.shape[1] > 1 else target.reshape(-1)
    indices = as_indices(target)
    if task == "multiclass":
        return _exclusive(prediction, indices)
    if task == "binary" and indices.ndim >= 2 and indices.shape[1] == 1:
        indices = indices[:, 0]
    if task == "binary" and prediction.numel() == 2 * indices.numel():  # two classes that exclude each other
        return _exclusive(prediction, indices)
    return prediction.reshape(indices.shape), indices


def _exclusive(prediction: Tensor, indices: Tensor) -> tuple[Tensor, Tensor]:
    """Scores ``(N, C, ...)`` with class indices ``(N, ...)``."""
    if prediction.ndim == 1:  # one row, without a dimension of rows
        prediction, indices = prediction[None], indices.reshape(1)
    if prediction.ndim == 2 and indices.ndim > 1 and len(prediction) == indices.numel():  # flattened for the loss
        prediction = prediction.reshape(*indices.shape, prediction.shape[1]).movedim(-1, 1)
    if prediction.ndim == indices.ndim + 1 and prediction.shape[:1] + prediction.shape[2:] != indices.shape:
        prediction = prediction.movedim(-1, 1) if prediction.shape[:-1] == indices.shape else prediction
    if len(prediction) == indices.numel() and prediction.shape[2:].numel() == 1:  # a sequence of one position
        prediction, indices = prediction.reshape(len(prediction), -1), indices.reshape(-1)
    if indices.ndim == prediction.ndim and indices.shape[1] == 1:
        indices = indices[:, 0]
    return prediction, indices.reshape(prediction.shape[:1] + prediction.shape[2:])


def as_indices(target: Tensor) -> Tensor:
    """Whole numbers; what is none, as NaN for a target that is missing, is no class."""
    if target.is_floating_point():
        target = torch.where(target == target.round(), target, float(NO_CLASS))
    return target.long()
