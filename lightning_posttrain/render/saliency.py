"""Attribution maps as a picture that suits what the samples are, and the samples as a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from lightning_posttrain.artifacts import Cell, Image, Table
from lightning_posttrain.render.features import features_image
from lightning_posttrain.render.grid import grid_image
from lightning_posttrain.render.notes import sentences
from lightning_posttrain.render.series import series_image
from lightning_posttrain.render.words import words_image
from lightning_posttrain.results import Kind, Saliency


class _Drawing(Protocol):
    def __call__(self, saliency: Saliency, *, title: str = "") -> Image: ...


_DRAWINGS: Mapping[Kind, _Drawing] = {
    "image": grid_image,
    "spectrogram": grid_image,
    "series": series_image,
    "tabular": features_image,
    "tokens": words_image,
}


def saliency_image(saliency: Saliency, *, title: str = "") -> Image:
    """Draw the maps of each sample.

    Args:
        saliency: what to draw.
        title: stands above, as ``"val"``.
    """
    return _DRAWINGS[saliency.kind](saliency, title=title)


def saliency_table(saliency: Saliency) -> Table:
    """The samples from top to bottom, and what each method's map leaves out of the change of the output."""
    columns = ("index", "actual", "predicted", "probability", "explained", "value")
    rows = []
    for at, sample in enumerate(saliency.samples):
        known: tuple[Cell, ...] = tuple(getattr(sample, column) for column in columns)
        rows.append((*known, *(gaps[at] for gaps in saliency.gaps.values())))
    gaps = tuple(f"{name} gap" for name in saliency.gaps)
    said = "A gap is the share of the change of the output that a map leaves out; 0 is best." if gaps else ""
    return Table((*columns, *gaps), tuple(rows), note=sentences(said, [*saliency.alarms, *saliency.notes]).strip())
