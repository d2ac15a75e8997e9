"""Calibration: whether probabilities can be taken at their word, and layers that mend them.

``functional`` measures errors and fits, with cross-fitting; ``calibrators`` are the layers; ``callback`` fits on
validation and freezes on test.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lightning_posttrain.calibration.calibrators.base import Calibrator
from lightning_posttrain.calibration.calibrators.calibrated import Calibrated
from lightning_posttrain.calibration.calibrators.isotonic import IsotonicCalibration
from lightning_posttrain.calibration.calibrators.methods import METHODS as CALIBRATORS
from lightning_posttrain.calibration.calibrators.methods import check_method, from_state
from lightning_posttrain.calibration.calibrators.scaling import (
    Identity,
    PlattScaling,
    TemperatureScaling,
    VectorScaling,
)
from lightning_posttrain.calibration.functional.cross_fit import cross_fit, folds_of, possible_methods, row_losses
from lightning_posttrain.calibration.functional.errors import calibration_figures
from lightning_posttrain.calibration.functional.fits import fit as fit_calibrator
from lightning_posttrain.core.lazy import lazily

if TYPE_CHECKING:
    from lightning_posttrain.calibration.callback import Calibration

__all__ = [
    "CALIBRATORS",
    "Calibrated",
    "Calibration",
    "Calibrator",
    "Identity",
    "IsotonicCalibration",
    "PlattScaling",
    "TemperatureScaling",
    "VectorScaling",
    "calibration_figures",
    "check_method",
    "cross_fit",
    "fit_calibrator",
    "folds_of",
    "from_state",
    "possible_methods",
    "row_losses",
]

__getattr__ = lazily(
    __name__,
    {
        "lightning_posttrain.calibration.callback": [
            "Calibration",
        ],
    },
)
