"""What torchmetrics metrics say of the predictions and targets that they take."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from lightning_posttrain.classification.heard.losses import values
from lightning_posttrain.classification.heard.scores import HeardScores, NoClasses, unsquashed
from lightning_posttrain.classification.tasks import TASKS, ScoreKind, Task
from lightning_posttrain.core.capture.batch_parts import Path, locate
from lightning_posttrain.core.capture.witness import Pair


def of_metric(pair: Pair, parts: Mapping[Path, Tensor]) -> HeardScores | NoClasses | None:
    """What the pair of a metric, or of predicted classes that are compared with others, says of classes."""
    kinds = () if pair.owner is None else type(pair.owner).__mro__
    if any(".regression" in kind.__module__ for kind in kinds):
        return values(pair, parts)
    names = [kind.__name__.lower() for kind in kinds]
    task = next((task for name in names for task in TASKS if name.startswith(task)), None)
    prediction, kind, depth = unsquashed(pair, None)
    target = pair.target
    if target.is_floating_point() and task is None and pair.kind == "metric":
        return None
    task = task or _by_shape(pair, prediction, target)
    if task is None or not prediction.is_floating_point():
        return None
    if task == "multiclass":
        prediction = _classes_second(prediction, target)
        if prediction.ndim != target.ndim + 1:
            return None
    elif prediction.numel() != target.numel():
        return None
    ignored = getattr(pair.owner, "ignore_index", None)
    return HeardScores(
        pair, task, kind or _as_metrics_read(prediction, task), prediction, target, locate(target, parts),
        ignore_index=ignored if isinstance(ignored, int) else None, depth=depth,
    )  # fmt: skip


def _by_shape(pair: Pair, prediction: Tensor, target: Tensor) -> Task | None:
    """What a metric of one's own, or a comparison, is given, where that is clear."""
    if pair.kind == "comparison" and prediction.numel() == target.numel():
        return "binary" if target.ndim == 1 or target.shape[1] == 1 else "multilabel"
    if prediction.ndim == target.ndim + 1 and prediction.shape[:1] == target.shape[:1] and prediction.shape[1] > 1:
        return "multiclass"
    return None


def _classes_second(prediction: Tensor, target: Tensor) -> Tensor:
    """Scores ``(N, C, ...)`` of such, or of ``(N, ..., C)``."""
    if prediction.ndim == target.ndim + 1 and prediction.shape[:1] + prediction.shape[2:] != target.shape:
        return prediction.movedim(-1, 1)
    return prediction


def _as_metrics_read(prediction: Tensor, task: Task) -> ScoreKind:
    """Whether torchmetrics takes scores for probabilities, as it does where none is below 0 or above 1."""
    inside = bool(((prediction >= 0) & (prediction <= 1)).all())
    if task == "multiclass" and inside:
        inside = bool(torch.isclose(prediction.double().sum(1), torch.ones((), dtype=torch.float64), atol=1e-3).all())
    return "probabilities" if inside else "logits"
