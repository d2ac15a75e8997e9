"""Attribution methods, explanations of a black box, and the session that leaves the model as it was."""

from lightning_posttrain.attribution.attribute import METHODS, Attributed, attribute
from lightning_posttrain.attribution.chunks import Chunks
from lightning_posttrain.attribution.guests import Captum
from lightning_posttrain.attribution.layers import find_cam_layer
from lightning_posttrain.attribution.methods import Method
from lightning_posttrain.attribution.occlusion import Occlusion
from lightning_posttrain.attribution.paths import GradientShap, IntegratedGradients, SmoothGrad
from lightning_posttrain.attribution.perturbation.anchors.anchor import anchor
from lightning_posttrain.attribution.perturbation.game import Game
from lightning_posttrain.attribution.perturbation.hidden import hidden_of
from lightning_posttrain.attribution.perturbation.lime import lime
from lightning_posttrain.attribution.perturbation.parts import parts_of
from lightning_posttrain.attribution.perturbation.shapley import shapley
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
    "Game",
    "GradientShap",
    "IntegratedGradients",
    "Method",
    "NotApplicableError",
    "Occlusion",
    "Problem",
    "SmoothGrad",
    "anchor",
    "attribute",
    "find_cam_layer",
    "gradient_session",
    "hidden_of",
    "lime",
    "parts_of",
    "shapley",
]
