"""What torchmetrics metrics say of the predictions and targets that they take."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from lightning_posttrain.classification.heard.arranged import classes_second
from lightning_posttrain.classification.heard.losses import binary_or_labels, values
from lightning_posttrain.classification.heard.scores import HeardScores, NoClasses, unsquashed
from lightning_posttrain.classification.tasks import TASKS, ScoreKind, Task
from lightning_posttrain.core.capture.batch_parts import Path, locate
from lightning_posttrain.core.capture.witness import Pair


def of_metric(pair: Pair, parts: Mapping[Path, Tensor]) -> HeardScores | NoClasses | None:
    """What the pair of a metric, or of predicted classes that are compared with others, says of classes."""
    kinds = () if pair.owner is None else type(pair.owner).__mro__
    if any(".regression" in kind.__module__ for kind in kinds):
        return values(pair, parts)
    prediction, kind, depth = unsquashed(pair, None)
    target = pair.target
    task = _task(pair, prediction, parts)
    if task is None or not prediction.is_floating_point():
        return None
    if task == "multiclass":
        prediction = classes_second(prediction, target.shape)
        if prediction.ndim != target.ndim + 1:
            return None
    elif prediction.numel() != target.numel():
        return None
    ignored = getattr(pair.owner, "ignore_index", None)
    if task == "multiclass" and ignored is None:
        ignored = _left_out(pair, target, prediction.shape[1])
    return HeardScores(
        pair, task, kind or _kind(pair, prediction, task), prediction, target, locate(target, parts),
        ignore_index=ignored if isinstance(ignored, int) else None, depth=depth,
    )  # fmt: skip


def _are_classes(target: Tensor) -> bool:
    """Whether all are whole numbers."""
    return not target.is_floating_point() or bool((target == target.round()).all())


def _left_out(pair: Pair, target: Tensor, num_classes: int) -> int | None:
    """The target that is no class, where a mask among the other arguments marks just those rows."""
    odd = (target < 0) | (target >= num_classes)
    values = target[odd]
    tensors = (one for one in pair.options.values() if isinstance(one, Tensor))
    masks = [mask for mask in tensors if mask.dtype == torch.bool and mask.shape == odd.shape]
    marked = any(bool((mask == odd).all()) or bool((mask != odd).all()) for mask in masks)
    return int(values[0]) if marked and values.numel() and bool((values == values[0]).all()) else None


def _task(pair: Pair, prediction: Tensor, parts: Mapping[Path, Tensor]) -> Task | None:
    """What the metric's class says, else the shapes, where that is clear."""
    names = [kind.__name__.lower() for kind in type(pair.owner).__mro__]
    task, target = next((task for name in names for task in TASKS if name.startswith(task)), None), pair.target
    if task is None and ((pair.kind == "metric" and target.is_floating_point()) or not _are_classes(target)):
        return None
    task = task or _by_shape(pair, prediction, target, parts)
    return "multilabel" if task == "binary" and target.ndim == 2 and target.shape[1] > 1 else task


def _by_shape(pair: Pair, prediction: Tensor, target: Tensor, parts: Mapping[Path, Tensor]) -> Task | None:
    """What a metric of one's own, or a comparison, is given, where that is clear."""
    if pair.kind != "metric" and prediction.numel() == target.numel():
        return binary_or_labels(target, locate(target, parts), parts)
    if prediction.ndim == target.ndim + 1 and prediction.shape[:1] == target.shape[:1] and prediction.shape[1] > 1:
        return "multiclass"
    return None


def _kind(pair: Pair, prediction: Tensor, task: Task) -> ScoreKind:
    """What torchmetrics takes scores for: probabilities where none is below 0 or above 1. A loss is given logits."""
    if pair.kind == "loss":
        return "logits"
    inside = bool(((prediction >= 0) & (prediction <= 1)).all())
    if task == "multiclass" and inside:
        inside = bool(torch.isclose(prediction.double().sum(1), torch.ones((), dtype=torch.float64), atol=1e-3).all())
    return "probabilities" if inside else "logits"
