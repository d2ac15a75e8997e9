"""Areas under curves from all scores."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_posttrain.classification.result.scores import Areas

SIDES: tuple[Literal["left"], Literal["right"]] = ("left", "right")


def exact_areas(scores: Tensor, marks: Tensor) -> Areas:
    """Area under the ROC curve and average precision of each class, as scikit-learn's.

    Only positives are looked up among the sorted scores of their class, so that a sort of bare numbers is all it costs.

    Args:
        scores: ``(N, C)``.
        marks: one more than the class ``(N, 1)``, or than 0 or 1 for each label ``(N, C)``; 0 where not counted.

    Example:
        >>> exact_areas(torch.tensor([[0.1], [0.4], [0.4], [0.8]]), torch.tensor([[1], [1], [2], [2]])).auroc.tolist()
        [0.875]
    """
    classes = scores.shape[1]
    if marks.shape[1] == classes:
        pairs = zip(scores.t().contiguous().numpy(), marks.t().contiguous().numpy(), strict=True)
        each = [_areas(column[mark > 0], column[mark == 2]) for column, mark in pairs]
    else:
        kept = marks[:, 0] > 0
        columns, labels = scores[kept].t().contiguous().numpy(), marks[kept, 0].numpy() - 1
        order = np.argsort(labels, kind="stable")
        ends = np.searchsorted(labels[order], np.arange(classes + 1))
        each = [_areas(columns[k], columns[k][order[ends[k] : ends[k + 1]]]) for k in range(classes)]
    auroc, precision = torch.tensor(each, dtype=torch.float64).t()
    return Areas(auroc, precision)


def _areas(scores: NDArray[np.float32], positives: NDArray[np.float32]) -> tuple[float, float]:
    found, rows = len(positives), len(scores)
    if not found:
        return np.nan, np.nan
    ranked, own = np.sort(scores), np.sort(positives)
    below, upto = (np.searchsorted(ranked, own, side=side) for side in SIDES)
    own_below, own_upto = (np.searchsorted(own, own, side=side) for side in SIDES)
    precision = float(np.mean((found - own_below) / (rows - below)))
    if found == rows:
        return np.nan, precision
    lower, equal = below - own_below, (upto - below) - (own_upto - own_below)
    return float((lower + equal / 2).sum() / found / (rows - found)), precision
