"""The same figures once more, by scikit-learn."""

from __future__ import annotations

import numpy as np
from sklearn import metrics as sk

from lightning_posttrain.results import ClassificationReport


def report(actual, predicted, classes: int) -> dict[str, object]:
    """Figures under the conventions of ``classification_report``.

    These are scikit-learn's with ``zero_division=0`` over the classes that are there or were predicted, except
    that the recall of a class without rows is not defined.
    """
    labels = list(range(classes))
    actual, predicted = np.asarray(actual), np.asarray(predicted)
    precision, recall, f1, support = sk.precision_recall_fscore_support(
        actual, predicted, labels=labels, zero_division=0
    )
    gone = np.array([k not in actual and k not in predicted for k in labels])
    precision, recall, f1 = (np.where(gone, np.nan, values) for values in (precision, recall, f1))
    recall = np.where(support == 0, np.nan, recall)
    weighted = sk.precision_recall_fscore_support(actual, predicted, average="weighted", zero_division=0)
    return {
        "support": support,
        "precision": precision,
        "recall": recall,
        "f1": f1,
        "accuracy": sk.accuracy_score(actual, predicted),
        "balanced_accuracy": np.nanmean(recall),
        "precision_macro": np.nanmean(precision),
        "recall_macro": np.nanmean(recall),
        "f1_macro": np.nanmean(f1),
        "precision_weighted": weighted[0],
        "recall_weighted": weighted[1],
        "f1_weighted": weighted[2],
        "counts": sk.confusion_matrix(actual, predicted, labels=labels),
    }


def assert_equal(found: ClassificationReport, expected: dict[str, object]) -> None:
    np.testing.assert_array_equal(found.support.numpy(), expected["support"])
    for name, values in found.per_class._asdict().items():
        np.testing.assert_allclose(values.numpy(), expected[name], rtol=0, atol=1e-12, err_msg=name)
    for name, value in found.scalars().items():
        np.testing.assert_allclose(value, expected[name], rtol=0, atol=1e-12, err_msg=name)
