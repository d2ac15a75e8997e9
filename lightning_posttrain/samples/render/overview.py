"""Maps of samples as a picture that suits what the samples are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from lightning_posttrain.core.output.artifacts import Image
from lightning_posttrain.samples.kinds import Kind
from lightning_posttrain.samples.render.features import features_image
from lightning_posttrain.samples.render.grid import grid_image
from lightning_posttrain.samples.render.series import series_image
from lightning_posttrain.samples.render.tokens import words_image
from lightning_posttrain.samples.result import SampleMaps


class _Drawing(Protocol):
    def __call__(self, saliency: SampleMaps, *, title: str = "") -> Image: ...


_DRAWINGS: Mapping[Kind, _Drawing] = {
    "image": grid_image,
    "spectrogram": grid_image,
    "series": series_image,
    "tabular": features_image,
    "tokens": words_image,
}


def maps_image(saliency: SampleMaps, *, title: str = "") -> Image:
    """Draw the maps of each sample.

    Args:
        saliency: what to draw.
        title: stands above, as ``"val"``.
    """
    return _DRAWINGS[saliency.kind](saliency, title=title)
