"""Precision, recall, F1 and accuracies from a confusion matrix."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_posttrain.results import ClassificationReport, ClassScores, Confusion


def classification_report(confusion: Confusion) -> ClassificationReport:
    r"""Work out the figures that follow from a confusion matrix, in float64.

    With :math:`M_{ij}` rows of class :math:`i` predicted as :math:`j`, class :math:`k` has

    .. math::
        P_k = \frac{M_{kk}}{\sum_i M_{ik}}, \quad
        R_k = \frac{M_{kk}}{\sum_j M_{kj}}, \quad
        F_k = \frac{2 M_{kk}}{\sum_i M_{ik} + \sum_j M_{kj}}

    as in scikit-learn. A class that has rows and was never predicted has precision 0. What is left
    undefined is NaN and stays out of the means: the recall of a class without rows, and all three for a
    class that was neither there nor predicted. So ``recall_macro`` is the balanced accuracy
    (Brodersen et al., 2010, doi:10.1109/ICPR.2010.764).

    Example:
        >>> report = classification_report(Confusion(torch.tensor([[3, 1], [0, 4]]), ("no", "yes")))
        >>> report.accuracy, report.per_class.recall.tolist()
        (0.875, [0.75, 1.0])
    """
    counts = confusion.counts.double()
    right, support, predicted = counts.diag(), counts.sum(dim=1), counts.sum(dim=0)
    precision = torch.where((predicted == 0) & (support > 0), 0.0, right / predicted)
    per_class = ClassScores(precision, right / support, 2 * right / (support + predicted))
    macro = ClassScores(*(float(values.nanmean()) for values in per_class))
    weighted = ClassScores(*(_weighted_mean(values, support) for values in per_class))
    return ClassificationReport(
        class_names=confusion.class_names,
        support=confusion.counts.sum(dim=1),
        per_class=per_class,
        macro=macro,
        weighted=weighted,
        accuracy=float(right.sum() / counts.sum()),
        balanced_accuracy=float(macro.recall),
        undefined=_undefined(confusion, support, predicted),
        alerts=confusion.alerts,
    )


def _weighted_mean(values: Tensor, weight: Tensor) -> float:
    return float(torch.where(weight > 0, values * weight, 0.0).sum() / weight.sum())


def _undefined(confusion: Confusion, support: Tensor, predicted: Tensor) -> tuple[str, ...]:
    if not support.sum():
        return ("no rows were counted",)
    absent = _names(confusion, support == 0)
    unseen = _names(confusion, (predicted == 0) & (support > 0))
    said = (
        (absent, "no rows of {}: recall is not defined and not in the means"),
        (unseen, "never predicted: {}; precision counts as 0"),
    )
    return tuple(text.format(names) for names, text in said if names)


def _names(confusion: Confusion, chosen: Tensor, limit: int = 8) -> str:
    names = [confusion.class_names[i] for i in chosen.nonzero().flatten().tolist()]
    rest = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + rest
