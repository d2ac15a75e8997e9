"""Layers that turn a classifier's logits into better calibrated ones, to stand behind its network.

``torch.nn.Sequential(network, calibrator)`` is a network like any other, for training, export and serving. What a
calibrator has learned is in buffers, so that no optimizer moves it.
"""

from lightning_posttrain.calibrators.base import Calibrator
from lightning_posttrain.calibrators.calibrated import Calibrated
from lightning_posttrain.calibrators.isotonic import IsotonicCalibration
from lightning_posttrain.calibrators.methods import METHODS, check_method, from_state
from lightning_posttrain.calibrators.scaling import Identity, PlattScaling, TemperatureScaling, VectorScaling

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
