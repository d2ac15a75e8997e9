"""Figures that follow from the counts of each class."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_posttrain.classification.result.confusion import ClassCounts

AVERAGED = ("precision", "recall", "specificity", "jaccard")


def class_figures(counts: ClassCounts, beta: float = 1.0) -> dict[str, Tensor]:
    r"""Precision, recall, specificity, F-beta and Jaccard index of each class, in float64.

    .. math::
        P = \frac{tp}{tp + fp}, \quad R = \frac{tp}{tp + fn}, \quad S = \frac{tn}{tn + fp}, \quad
        F_\beta = \frac{(1 + \beta^2) tp}{(1 + \beta^2) tp + \beta^2 fn + fp}, \quad J = \frac{tp}{tp + fp + fn}

    as in scikit-learn. A class that has rows and was never predicted has precision 0. What is left undefined is NaN:
    the recall of a class without rows, and all of a class that was neither there nor predicted.

    Args:
        counts: of each class ``(..., C)``.
        beta: weight of recall in F-beta.

    Example:
        >>> counts = ClassCounts(*torch.tensor([[3.0, 4.0], [0.0, 1.0], [1.0, 0.0], [4.0, 3.0]]))
        >>> class_figures(counts)["recall"].tolist()
        [0.75, 1.0]
    """
    tp, fp, fn, tn = counts
    missed = (counts.predicted == 0) & (counts.support > 0)
    weight = beta * beta
    return {
        "precision": torch.where(missed, 0.0, tp / (tp + fp)),
        "recall": tp / (tp + fn),
        "specificity": torch.where(counts.support + fp == 0, torch.nan, tn / (tn + fp)),
        f_name(beta): (1 + weight) * tp / ((1 + weight) * tp + weight * fn + fp),
        "jaccard": tp / (tp + fp + fn),
    }


def f_name(beta: float) -> str:
    """What F-beta is called, as ``f1`` or ``f0.5``."""
    return f"f{beta:g}"


def without(figures: dict[str, Tensor], ignored: Sequence[int]) -> dict[str, Tensor]:
    """Figures ``(..., C)`` that are not defined for some classes, as those that ``ignore_index`` leaves out.

    With rows of a class left out, every row that is predicted as it is wrong: its own precision says nothing of the
    model, and would pull each mean towards 0.

    Example:
        >>> without({"recall": torch.tensor([0.5, 1.0])}, [0])["recall"].tolist()
        [nan, 1.0]
    """
    if not ignored:
        return figures
    place = torch.tensor(ignored)
    return {name: values.index_fill(-1, place, torch.nan) for name, values in figures.items()}


def averages(figures: dict[str, Tensor], weight: Tensor) -> dict[str, Tensor]:
    """Means of figures over the classes where they are defined, plain (``_macro``) and by weight (``_weighted``).

    Args:
        figures: ``(..., C)`` by name.
        weight: ``(..., C)``, as the rows of each class.
    """
    values = torch.stack(list(figures.values()))
    plain = values.nanmean(dim=-1)
    share = torch.where(values.isnan(), 0.0, weight)
    weighted = (values.nan_to_num(0.0) * share).sum(dim=-1) / share.sum(dim=-1)
    named = {}
    for name, macro, mean in zip(figures, plain, weighted, strict=True):
        named.update({f"{name}_macro": macro, f"{name}_weighted": mean})
    return named


def micro(counts: ClassCounts) -> ClassCounts:
    """The counts of all classes together, as of one ``(..., 1)``; for labels, of which a row has any number."""
    return ClassCounts(*(values.sum(dim=-1, keepdim=True) for values in counts))


def agreement(counts: ClassCounts) -> dict[str, Tensor]:
    r"""Accuracy, balanced accuracy, Matthews correlation and Cohen's kappa of a whole matrix, each ``(...)``.

    With :math:`c` right of :math:`s` rows, :math:`t_k` of class :math:`k` and :math:`p_k` predicted so,

    .. math::
        MCC = \frac{cs - \sum_k t_k p_k}{\sqrt{(s^2 - \sum_k p_k^2)(s^2 - \sum_k t_k^2)}}, \quad
        \kappa = \frac{cs - \sum_k t_k p_k}{s^2 - \sum_k t_k p_k}

    (Gorodkin, 2004, doi:10.1016/j.compbiolchem.2004.09.006; Cohen, 1960, doi:10.1177/001316446002000104). As in
    scikit-learn the first is 0 where all rows have, or were predicted as, one class. Balanced accuracy is the mean
    recall of the classes that have rows (Brodersen et al., 2010, doi:10.1109/ICPR.2010.764).

    Args:
        counts: of each class ``(..., C)``.
    """
    right, rows = counts.true_positive.sum(dim=-1), counts.support.sum(dim=-1)
    by_chance = (counts.support * counts.predicted).sum(dim=-1)
    spread = (rows**2 - counts.predicted.square().sum(dim=-1)) * (rows**2 - counts.support.square().sum(dim=-1))
    covariance = right * rows - by_chance
    mcc = torch.where((spread == 0) & (rows > 0), 0.0, covariance / spread.sqrt())
    return {
        "accuracy": right / rows,
        "balanced_accuracy": (counts.true_positive / counts.support).nanmean(dim=-1),
        "mcc": mcc,
        "cohen_kappa": covariance / (rows**2 - by_chance),
    }


def label_mcc(counts: ClassCounts) -> Tensor:
    """Matthews correlation of each label ``(..., L)``, 0 where all its rows have, or were predicted as, one value."""
    tp, fp, fn, tn = counts
    spread = (tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)
    covariance = tp * tn - fp * fn
    return torch.where((spread == 0) & (counts.total > 0), 0.0, covariance / spread.sqrt())
