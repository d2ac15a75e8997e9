"""Feature maps of images and spectrograms: for each stage a line a sample."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from lightning_posttrain.core.drawing.canvas import PALE, Canvas, Pixels, colored, resized
from lightning_posttrain.core.drawing.number_format import number
from lightning_posttrain.core.output.artifacts import Image
from lightning_posttrain.feature_maps.render.head import (
    channel_colors,
    channel_name,
    energy_levels,
    finished,
    stage_head,
    variance,
)
from lightning_posttrain.feature_maps.result import FeatureMapsResult, StageMaps
from lightning_posttrain.samples.render.grid import STRETCHED, is_stretched, size_of
from lightning_posttrain.samples.render.maps import framed, picture_pixels
from lightning_posttrain.samples.render.sheet import EDGE, FINE_PRINT

LARGE, SMALL = 130, 64
GAP, NEAR = 8, 4
ACROSS = 4
HEAD = 48


@dataclass(frozen=True)
class Sizes:
    """Height and width of the input, energy and components, and of a channel."""

    large: tuple[int, int]
    small: tuple[int, int]


def grid_image(result: FeatureMapsResult, *, title: str = "") -> Image:
    """Draw input, energy, components and channels of each sample, one stage below the other."""
    upward = -1 if result.inputs == "spectrogram" else 1
    rows, columns = result.shown.shape[1:3]
    height, width = size_of(result.inputs, rows, columns, width=LARGE)
    height -= height % 2
    sizes = Sizes((height, width), ((height - NEAR) // 2, min(SMALL, max(1, (width - 2) // 2))))
    inputs = [picture_pixels(picture, *sizes.large) for picture in result.shown.numpy()[:, ::upward]]
    pieces = [piece for stage in result.stages for piece in _stage(stage, inputs, sizes, upward)]
    said = [STRETCHED] if result.inputs == "image" and is_stretched(rows, columns, sizes.large) else []
    said += ["Time runs to the right, frequency upward."] if result.inputs == "spectrogram" else []
    return finished(result, pieces, said, title=title)


def _stage(stage: StageMaps, inputs: list[Pixels], sizes: Sizes, upward: int) -> Iterator[Pixels]:
    yield stage_head(stage)
    yield _titles(stage)
    energy = colored(energy_levels(stage)[:, ::upward], "viridis")
    colors = np.round(stage.colors.numpy()[:, ::upward] * 255).astype(np.uint8)
    channels = [
        channel_colors(stage.maps[:, place], signed=stage.signed)[:, ::upward] for place in range(len(stage.channels))
    ]
    for row, plain in enumerate(inputs):
        large = [plain, *(resized(one, *sizes.large, how="smooth") for one in (energy[row], colors[row]))]
        yield _line(large, [resized(channel[row], *sizes.small) for channel in channels], sizes)


def _left(place: int) -> int:
    """Where a large picture begins."""
    return EDGE + place * (LARGE + GAP)


def _corner(place: int) -> int:
    """Where the picture of a channel begins."""
    return _left(3) + place % ACROSS * (SMALL + NEAR)


def _titles(stage: StageMaps) -> Pixels:
    canvas = Canvas(HEAD)
    for place, lines in enumerate((("", "Input"), ("Energy", f"max {number(stage.peak)}"), ("PCA", variance(stage)))):
        canvas.lines(_left(place), 2, lines, 21, size=FINE_PRINT, color=PALE)
    for place, channel in enumerate(stage.channels):
        name = channel_name(channel, SMALL)
        y = 2 + 21 * (place // ACROSS + (len(stage.channels) <= ACROSS))
        canvas.text(_corner(place), y, name, size=FINE_PRINT, color=PALE)
    return canvas.pixels()


def _line(large: list[Pixels], small: list[Pixels], sizes: Sizes) -> Pixels:
    height, width = sizes.large
    canvas = Canvas(height + GAP)
    for place, pixels in enumerate(large):
        canvas.paste(_left(place), 0, framed(pixels, height, width))
    for place, pixels in enumerate(small):
        y = place // ACROSS * (height - sizes.small[0])
        canvas.paste(_corner(place), y, framed(pixels, *sizes.small))
    return canvas.pixels()
