"""Tensors in, tensors or results out: no state, no files, no Lightning."""

from lightning_posttrain.functional.classification import class_figures
from lightning_posttrain.functional.confusion import add_confusion, most_confused
from lightning_posttrain.functional.images import channel_dim, fits_kind, kind_of, to_display
from lightning_posttrain.functional.ranking import auroc, average_precision, precision_recall_curve, roc_curve
from lightning_posttrain.functional.report import Findings, classification_report

__all__ = [
    "Findings",
    "add_confusion",
    "auroc",
    "average_precision",
    "channel_dim",
    "class_figures",
    "classification_report",
    "fits_kind",
    "kind_of",
    "most_confused",
    "precision_recall_curve",
    "roc_curve",
    "to_display",
]
