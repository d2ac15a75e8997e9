"""What the records of a classifier counted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Whole = NDArray[np.int64]


class ClassCounts(NamedTuple):
    """Rows of each of ``C`` classes.

    Args:
        names: of the classes that are listed.
        support: rows of each ``(C,)``.
        right: how many of them are right ``(C,)``.
    """

    names: tuple[str, ...]
    support: Whole
    right: Whole


class Errors(NamedTuple):
    """The wrong rows by cell of the confusion matrix.

    Args:
        actual, predicted: numbers of the classes ``(K,)``.
        rows: how many ``(K,)``, at least 1.
        predicted_rows: rows predicted as each class ``(C,)``, right and wrong.
    """

    actual: Whole
    predicted: Whole
    rows: Whole
    predicted_rows: Whole


def of_matrix(record: Mapping[str, Any]) -> tuple[ClassCounts, Errors]:
    """Of the record of a confusion matrix, which has all counts or the cells that are not zero."""
    names = tuple(map(str, record["class_names"]))
    actual, predicted, count = _cells(record)
    size = len(names)
    own = actual == predicted
    support, right, said = (np.zeros(size, np.int64) for _ in range(3))
    np.add.at(support, actual, count)
    np.add.at(said, predicted, count)
    np.add.at(right, actual[own], count[own])
    return ClassCounts(names, support, right), Errors(actual[~own], predicted[~own], count[~own], said)


def _cells(record: Mapping[str, Any]) -> tuple[Whole, Whole, Whole]:
    if "cells" in record:
        cells = np.asarray(record["cells"], np.int64).reshape(-1, 3)
        return cells[:, 0], cells[:, 1], cells[:, 2]
    counts = np.asarray(record["counts"], np.int64)
    if counts.ndim != 2:
        raise ValueError(f"counts have {counts.ndim} axes, wanted 2")
    actual, predicted = counts.nonzero()
    return actual, predicted, counts[actual, predicted]


def of_report(record: Mapping[str, Any]) -> ClassCounts:
    """Of the record of a classification report, which has the support and the recall of each class."""
    rows = [row for row in record["per_class"] if row["support"]]
    support = np.array([row["support"] for row in rows], np.int64)
    recall = np.array([row["recall"] or 0.0 for row in rows], float)
    return ClassCounts(tuple(str(row["class"]) for row in rows), support, np.rint(recall * support).astype(np.int64))
