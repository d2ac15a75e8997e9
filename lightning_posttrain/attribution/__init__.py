"""Attribution methods, and the session that leaves the model as it was."""

from lightning_posttrain.attribution.attribute import METHODS, Attributed, attribute
from lightning_posttrain.attribution.chunks import Chunks
from lightning_posttrain.attribution.guests import Captum
from lightning_posttrain.attribution.layers import find_cam_layer
from lightning_posttrain.attribution.methods import Method
from lightning_posttrain.attribution.occlusion import Occlusion
from lightning_posttrain.attribution.paths import GradientShap, IntegratedGradients, SmoothGrad
from lightning_posttrain.attribution.problem import NotApplicableError, Problem
from lightning_posttrain.attribution.ruled import LRP, DeepLift
from lightning_posttrain.attribution.session import gradient_session

__all__ = [
    "LRP",
    "METHODS",
    "Attributed",
    "Captum",
    "Chunks",
    "DeepLift",
    "GradientShap",
    "IntegratedGradients",
    "Method",
    "NotApplicableError",
    "Occlusion",
    "Problem",
    "SmoothGrad",
    "attribute",
    "find_cam_layer",
    "gradient_session",
]
