"""The table of a classification report."""

from __future__ import annotations

from lightning_posttrain.artifacts import Table
from lightning_posttrain.render.notes import sentences
from lightning_posttrain.results import ClassificationReport


def classification_table(report: ClassificationReport) -> Table:
    """Each class and the averages, with the accuracies and what must be known in the note."""
    headline = f"Accuracy {report.accuracy:.4f}, balanced accuracy {report.balanced_accuracy:.4f}."
    return Table(
        columns=("class", "precision", "recall", "F1", "support"),
        rows=tuple(report.rows()),
        note=sentences(headline, report.notes),
    )
