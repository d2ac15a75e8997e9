"""Areas under curves from all scores."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_posttrain.results import Areas


def exact_areas(scores: Tensor, marks: Tensor) -> Areas:
    """Area under the ROC curve and average precision of each class, and of all together, as scikit-learn's.

    Only positives are looked up among the sorted scores of their class, so that a sort of bare numbers is all it costs.

    Args:
        scores: ``(N, C)``.
        marks: one more than the class ``(N, 1)``, or than 0 or 1 for each label ``(N, C)``; 0 where not counted.

    Example:
        >>> exact_areas(torch.tensor([[0.1], [0.4], [0.4], [0.8]]), torch.tensor([[1], [1], [2], [2]])).auroc.tolist()
        [0.875]
    """
    kept = marks.numpy()
    values = scores.numpy()
    classes = values.shape[1]
    each = np.full((2, classes), np.nan)
    labels = kept.shape[1] == classes
    everything, positives = [], []
    for k in range(classes):
        mark = kept[:, k] if labels else kept[:, 0]
        column, positive = values[:, k][mark > 0], values[:, k][mark == (2 if labels else k + 1)]
        each[:, k] = _areas(column, positive)
        everything.append(column)
        positives.append(positive)
    micro = _areas(np.concatenate(everything), np.concatenate(positives)) if classes > 1 else (np.nan, np.nan)
    return Areas(torch.from_numpy(each[0]), torch.from_numpy(each[1]), (float(micro[0]), float(micro[1])))


def _areas(scores: NDArray[np.float32], positives: NDArray[np.float32]) -> tuple[float, float]:
    found, rows = len(positives), len(scores)
    if not found:
        return np.nan, np.nan
    ranked, own = np.sort(scores), np.sort(positives)
    below, upto = (np.searchsorted(ranked, own, side=side) for side in ("left", "right"))
    own_below, own_upto = (np.searchsorted(own, own, side=side) for side in ("left", "right"))
    precision = float(np.mean((found - own_below) / (rows - below)))
    if found == rows:
        return np.nan, precision
    lower, equal = below - own_below, (upto - below) - (own_upto - own_below)
    return float((lower + equal / 2).sum() / found / (rows - found)), precision
