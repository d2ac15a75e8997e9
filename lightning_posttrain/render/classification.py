"""The tables of a classification report."""

from __future__ import annotations

from lightning_posttrain.artifacts import Table
from lightning_posttrain.render.notes import sentences
from lightning_posttrain.results import ClassificationReport

SHOWN = {"specificity": "specificity", "jaccard": "Jaccard", "auroc": "AUROC", "average_precision": "AP"}


def overall_table(report: ClassificationReport) -> Table:
    """The figures of the whole set, those that follow from counts with the ends of their intervals."""
    rows = []
    for name, value in report.overall.items():
        low, high = report.intervals.get(name, (None, None))
        rows.append((name, value, low, high))
    shown = "Low and high: 95 % bootstrap interval." if report.intervals else ""
    return Table(("figure", "value", "low", "high"), tuple(rows), note=sentences(shown, report.notes))


def class_table(report: ClassificationReport) -> Table:
    """Support and figures of each class."""
    accuracy = f"Accuracy {report['accuracy']:.4f}."
    columns = ("class", "support", *(_title(name) for name in report.per_class))
    return Table(columns, tuple(report.rows()), note=sentences(accuracy, report.notes))


def _title(name: str) -> str:
    return SHOWN.get(name, name.upper() if name.startswith("f") and name[1:2].isdigit() else name.replace("_", " "))
