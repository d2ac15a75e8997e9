"""Areas under curves from all scores."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_posttrain.classification.result.scores import Bounded

Scores = NDArray[np.float64]
SIDES: tuple[Literal["left"], Literal["right"]] = ("left", "right")


def exact_areas(places: Tensor, marks: Tensor) -> tuple[Bounded, Bounded]:
    """Area under the ROC curve and average precision of each class, as scikit-learn's.

    Only positives are looked up among the sorted scores of their class, so that a sort of bare numbers is all it costs.

    Args:
        places: scores by class ``(C, N)``.
        marks: one more than the class ``(N, 1)``, or than 0 or 1 for each label ``(N, C)``; 0 where not counted.

    Example:
        >>> places = torch.tensor([[0.1, 0.4, 0.4, 0.8]])
        >>> exact_areas(places, torch.tensor([[1], [1], [2], [2]]))[0].value.tolist()
        [0.875]
    """
    columns = places.numpy()
    if marks.shape[1] == len(columns):
        pairs = zip(columns, marks.t().contiguous().numpy(), strict=True)
        return _bounded([_areas(column[mark > 0], column[mark == 2]) for column, mark in pairs])
    kept = marks[:, 0].numpy() > 0
    if not kept.all():
        columns = columns[:, kept]
    labels = marks[:, 0].numpy()[kept] - 1
    order = np.argsort(labels, kind="stable")
    ends = np.searchsorted(labels[order], np.arange(len(columns) + 1))
    own = (column[order[first:end]] for column, first, end in zip(columns, ends, ends[1:], strict=False))
    return _bounded([_areas(column, positives) for column, positives in zip(columns, own, strict=True)])


def exact_areas_together(places: Tensor, marks: Tensor) -> tuple[Bounded, Bounded]:
    """The same of all classes as of one, each ``(1,)``; arguments as of ``exact_areas``."""
    if marks.shape[1] == len(places):
        found, positive = (marks > 0).t(), (marks == 2).t()
        return _bounded([_areas(places[found].numpy(), places[positive].numpy())])
    rows = marks[:, 0].nonzero()[:, 0]
    kept = places if len(rows) == len(marks) else places[:, rows]
    own = kept[marks[rows, 0] - 1, torch.arange(len(rows))]
    return _bounded([_areas(kept.reshape(-1).numpy(), own.numpy())])


def _bounded(each: list[tuple[float, float]]) -> tuple[Bounded, Bounded]:
    auroc, precision = torch.tensor(each, dtype=torch.float64).view(-1, 2).t()
    return Bounded(auroc, auroc, auroc), Bounded(precision, precision, precision)


def _areas(scores: Scores, positives: Scores) -> tuple[float, float]:
    found, rows = len(positives), len(scores)
    if not found:
        return np.nan, np.nan
    ranked, own = np.sort(scores), np.sort(positives)
    first = np.flatnonzero(np.concatenate([[True], own[1:] != own[:-1]]))  # of equal ones
    equal = np.diff(first, append=found)
    below, upto = (np.searchsorted(ranked, own[first], side=side) for side in SIDES)
    precision = float((equal * (found - first) / (rows - below)).sum() / found)
    if found == rows:
        return np.nan, precision
    lower, beside = below - first, upto - below - equal
    return float((equal * (lower + beside / 2)).sum() / found / (rows - found)), precision
