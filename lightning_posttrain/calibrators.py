"""Layers that turn a classifier's logits into better calibrated ones, to stand behind its network.

``torch.nn.Sequential(network, calibrator)`` is a network like any other, for training, export and serving. What a
calibrator has learned is in buffers, so that no optimizer moves it.
"""

from __future__ import annotations

from lightning_posttrain.calibration import CALIBRATORS as METHODS
from lightning_posttrain.calibration import (
    Calibrated,
    Calibrator,
    Identity,
    IsotonicCalibration,
    PlattScaling,
    TemperatureScaling,
    VectorScaling,
    check_method,
    from_state,
)

__all__ = [
    "METHODS",
    "Calibrated",
    "Calibrator",
    "Identity",
    "IsotonicCalibration",
    "PlattScaling",
    "TemperatureScaling",
    "VectorScaling",
    "check_method",
    "from_state",
]
