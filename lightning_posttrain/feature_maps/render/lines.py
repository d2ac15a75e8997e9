"""Feature maps of series and of tokens: for each stage the input over its energy, and position × channel below."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from lightning_posttrain.core.drawing.attribution_colors import EMPTY
from lightning_posttrain.core.drawing.canvas import PALE, Canvas, Pixels, resized, width_of
from lightning_posttrain.core.drawing.number_format import number
from lightning_posttrain.core.drawing.plot import ticks
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
from lightning_posttrain.samples.render.maps import framed
from lightning_posttrain.samples.render.series import (
    channel_legend,
    channels_remark,
    lane_height,
    over,
    signal_pixels,
)
from lightning_posttrain.samples.render.sheet import EDGE, FINE_PRINT, ROOM, Map, shaded
from lightning_posttrain.samples.render.tokens import words_pixels

_Inputs: TypeAlias = Callable[[StageMaps, int, Map], Pixels]

LABELS = 100
"""Width of the names at the left."""
STRIP = ROOM - LABELS
PITCH, HIGH = 22, 20
GROUND = "The darker the ground of the input, the more energy."


def series_image(result: FeatureMapsResult, *, title: str = "") -> Image:
    """Draw each signal over its energy, and below it the channels of a stage by position."""
    legend = list(channel_legend(result.shown.shape[1], result.names))
    height = lane_height(result.shown.shape[1])
    signals = [signal_pixels(signal, STRIP, height) for signal in result.shown]

    def inputs(stage: StageMaps, row: int, levels: Map) -> Pixels:
        ground = resized(shaded(0.85 * levels[row][None], signed=False), height, STRIP)
        canvas = _labelled(height + 4, ["Input and", "energy,", f"max {number(stage.peak)}"])
        canvas.paste(EDGE + LABELS, 0, over(signals[row], ground))
        return canvas.pixels()

    nothing = np.zeros((len(result.shown), result.shown.shape[2]), bool)
    pieces = [piece for stage in result.stages for piece in _stage(stage, inputs, nothing)]
    return finished(result, [*legend, *pieces], [GROUND, *channels_remark(result.shown.shape[1])], title=title)


def tokens_image(result: FeatureMapsResult, *, title: str = "") -> Image:
    """Draw each text on its energy, and below it the channels of a stage by position; padding is left empty."""
    padding = np.array([[not word for word in words] for words in result.words])

    def inputs(stage: StageMaps, row: int, levels: Map) -> Pixels:
        words = result.words[row]
        levels = levels[row][stretched(levels.shape[1], len(words))]
        text = words_pixels(words, shaded(0.85 * levels, signed=False))
        label = Canvas(26)
        label.text(EDGE, 2, f"Input and energy, max {number(stage.peak)}", size=FINE_PRINT, color=PALE)
        return np.concatenate([label.pixels(), text])

    pieces = [piece for stage in result.stages for piece in _stage(stage, inputs, padding)]
    return finished(result, pieces, [GROUND], title=title)


def _stage(stage: StageMaps, inputs: _Inputs, padding: NDArray[np.bool_]) -> Iterator[Pixels]:
    yield stage_head(stage)
    levels, length = energy_levels(stage), padding.shape[1]
    empty = padding[:, stretched(length, levels.shape[1])]
    maps = stage.maps.masked_fill(torch.from_numpy(empty)[:, None], 0.0)
    strips = [np.round(stage.colors.numpy() * 255).astype(np.uint8)]
    strips += [channel_colors(maps[:, place], signed=stage.signed) for place in range(len(stage.channels))]
    for strip in strips:
        strip[empty] = EMPTY
    names = [f"PCA {variance(stage)}", *(channel_name(channel, LABELS) for channel in stage.channels)]
    for row in range(len(levels)):
        yield inputs(stage, row, levels)
        yield _strips([strip[row] for strip in strips], names)
        yield _axis(length)


def stretched(length: int, count: int) -> NDArray[np.intp]:
    """Which of ``length`` positions each of ``count`` lies over.

    Example:
        >>> stretched(2, 4).tolist(), stretched(4, 2).tolist()
        ([0, 0, 1, 1], [0, 2])
    """
    return np.arange(count) * length // count


def _labelled(height: int, lines: list[str]) -> Canvas:
    canvas = Canvas(height)
    canvas.lines(EDGE, 4, lines, 21, size=FINE_PRINT, color=PALE)
    return canvas


def _strips(strips: list[Pixels], names: list[str]) -> Pixels:
    """Lines of colours ``(T, 3)``, one below the other, each with its name."""
    canvas = Canvas(PITCH * len(strips) + 2)
    for place, (colors, name) in enumerate(zip(strips, names, strict=True)):
        canvas.text(EDGE, PITCH * place + HIGH / 2, name, size=FINE_PRINT, anchor="lm", color=PALE)
        canvas.paste(EDGE + LABELS, PITCH * place, framed(resized(colors[None], HIGH, STRIP), HIGH, STRIP))
    return canvas.pixels()


def _axis(length: int) -> Pixels:
    """Positions of the input from 0."""
    canvas = Canvas(40)
    for value in ticks(0, max(length - 1, 1), least=1.0):
        x, text = EDGE + LABELS + (value + 0.5) * STRIP / length, f"{value:.0f}"
        canvas.box(round(x), 0, 1, 6, PALE)
        half = width_of(text, FINE_PRINT) / 2
        canvas.text(min(x, EDGE + ROOM - half), 8, text, size=FINE_PRINT, anchor="ma", color=PALE)
    return canvas.pixels()
