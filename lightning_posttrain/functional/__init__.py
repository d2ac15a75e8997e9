"""Tensors in, tensors or results out: no state, no files, no Lightning."""

from lightning_posttrain.functional.abstention import risk_coverage
from lightning_posttrain.functional.calibration import calibration_figures
from lightning_posttrain.functional.calibration_fits import fit as fit_calibrator
from lightning_posttrain.functional.classification import class_figures
from lightning_posttrain.functional.confusion import add_confusion, most_confused
from lightning_posttrain.functional.cross_fit import cross_fit
from lightning_posttrain.functional.faithfulness import infidelity, infidelity_of_hiding, max_sensitivity
from lightning_posttrain.functional.images import channel_dim, fits_kind, kind_of, to_display
from lightning_posttrain.functional.insertion import insertion_deletion
from lightning_posttrain.functional.label_errors import label_errors
from lightning_posttrain.functional.maps import energy_share, pointing_game
from lightning_posttrain.functional.objectives import Objective
from lightning_posttrain.functional.ranking import auroc, average_precision, precision_recall_curve, roc_curve
from lightning_posttrain.functional.report import Findings, classification_report
from lightning_posttrain.functional.thresholds import choose_thresholds, operating

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
    "pointing_game",
    "precision_recall_curve",
    "risk_coverage",
    "roc_curve",
    "to_display",
]
