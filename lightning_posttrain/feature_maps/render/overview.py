"""Feature maps as a picture that suits what the samples are."""

from __future__ import annotations

from lightning_posttrain.core.output.artifacts import Image
from lightning_posttrain.feature_maps.render.grid import grid_image
from lightning_posttrain.feature_maps.render.lines import series_image, tokens_image
from lightning_posttrain.feature_maps.result import FeatureMapsResult


def feature_maps_image(result: FeatureMapsResult, *, title: str = "") -> Image:
    """Draw the maps of each stage.

    Args:
        result: what to draw.
        title: stands above, as ``"val"``.
    """
    drawing = {"series": series_image, "tokens": tokens_image}.get(result.inputs, grid_image)
    return drawing(result, title=title)
