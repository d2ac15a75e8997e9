"""Heard scores and targets in the form that a reading takes."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_posttrain.classification.tasks import Task, as_indices
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
    prediction = classes_second(prediction, indices.shape)
    if len(prediction) == indices.numel() and prediction.shape[2:].numel() == 1:  # a sequence of one position
        prediction, indices = prediction.reshape(len(prediction), -1), indices.reshape(-1)
    if indices.ndim == prediction.ndim and indices.shape[1] == 1:
        indices = indices[:, 0]
    return prediction, indices.reshape(prediction.shape[:1] + prediction.shape[2:])


def classes_second(prediction: Tensor, target: torch.Size) -> Tensor:
    """Scores ``(N, C, ...)`` of such, or of ``(N, ..., C)``, for targets of a shape."""
    first = prediction.ndim == len(target) + 1 and prediction.shape[:1] + prediction.shape[2:] == target
    return prediction if first or prediction.shape[:-1] != target else prediction.movedim(-1, 1)
