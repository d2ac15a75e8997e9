"""Attribution methods, and the session that leaves the model as it was."""

from lightning_posttrain.attribution.layers import find_cam_layer
from lightning_posttrain.attribution.methods import METHODS, Attributed, attribute
from lightning_posttrain.attribution.session import gradient_session

__all__ = ["METHODS", "Attributed", "attribute", "find_cam_layer", "gradient_session"]
