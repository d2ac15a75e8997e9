"""The functions that need no Lightning, gathered from the wings: tensors in, tensors or results out."""

from __future__ import annotations

from lightning_posttrain.calibration import calibration_figures, cross_fit, fit_calibrator
from lightning_posttrain.classification import (
    Findings,
    add_confusion,
    auroc,
    average_precision,
    class_figures,
    classification_report,
    most_confused,
    paired_accuracy,
    precision_recall_curve,
    roc_curve,
)
from lightning_posttrain.label_errors import label_errors
from lightning_posttrain.saliency import (
    energy_share,
    infidelity,
    infidelity_of_hiding,
    insertion_deletion,
    max_sensitivity,
    pointing_game,
)
from lightning_posttrain.samples.kinds import channel_dim, fits_kind, kind_of, to_display
from lightning_posttrain.thresholds import Objective, choose_thresholds, operating, risk_coverage

__all__ = [
    "Findings",
    "Objective",
    "add_confusion",
    "auroc",
    "average_precision",
    "calibration_figures",
    "channel_dim",
    "choose_thresholds",
    "class_figures",
    "classification_report",
    "cross_fit",
    "energy_share",
    "fit_calibrator",
    "fits_kind",
    "infidelity",
    "infidelity_of_hiding",
    "insertion_deletion",
    "kind_of",
    "label_errors",
    "max_sensitivity",
    "most_confused",
    "operating",
    "paired_accuracy",
    "pointing_game",
    "precision_recall_curve",
    "risk_coverage",
    "roc_curve",
    "to_display",
]
