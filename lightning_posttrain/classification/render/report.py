"""The tables of a classification report."""

from __future__ import annotations

from lightning_posttrain.classification.result.report import ClassificationReport
from lightning_posttrain.core.drawing.table_notes import sentences
from lightning_posttrain.core.output.artifacts import Table

SHOWN = {"auroc": "AUROC", "average_precision": "AP", "mcc": "MCC"}


def overall_table(report: ClassificationReport) -> Table:
    """The figures of the whole set; where there are such, with the ends of their intervals."""
    if not report.intervals:
        return Table(("figure", "value"), tuple(report.overall.items()), note=sentences("", report.notes))
    none = (None, None)
    rows = tuple((name, value, *report.intervals.get(name, none)) for name, value in report.overall.items())
    said = "The interval is a bootstrap of the rows."
    return Table(("figure", "value", "95 % from", "95 % to"), rows, note=sentences(said, report.notes))


def class_table(report: ClassificationReport) -> Table:
    """Support and figures of each class."""
    right = "All labels right" if "hamming_loss" in report.overall else "Accuracy"
    columns = ("class", "support", *(_title(name) for name in report.per_class))
    return Table(columns, tuple(report.rows()), note=sentences(f"{right}: {report['accuracy']:.4f}.", report.notes))


def _title(name: str) -> str:
    return SHOWN.get(name, name.upper() if name[:1] == "f" and name[1:2].isdigit() else name.replace("_", " "))
