"""What all pictures of feature maps share: the words above a stage, the colours, and the sentences of the foot."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
from torch import Tensor

from lightning_posttrain.core.drawing.canvas import PALE, WIDTH, Canvas, Pixels, colored, shorten, width_of
from lightning_posttrain.core.drawing.number_format import number, share
from lightning_posttrain.core.output.artifacts import Image
from lightning_posttrain.feature_maps.result import FeatureMapsResult, StageMaps
from lightning_posttrain.samples.render.sheet import (
    EDGE,
    FINE_PRINT,
    ROOM,
    SMALL,
    Map,
    cleaned,
    foot,
    heading_pixels,
    leveled,
    scale_of,
    stacked,
)

ENERGY = "Energy is the root mean square over channels; all samples of a stage share its scale, from 0 to its maximum."


def stage_head(stage: StageMaps) -> Pixels:
    """The name of a layer, its class and shape, and its figures in a line below."""
    canvas = Canvas(68)
    right = f"{stage.layer}  {stage.size}"
    right = shorten(right, ROOM * 0.6, SMALL)
    canvas.box(EDGE, 6, ROOM, 2, (228, 230, 233))
    canvas.text(EDGE, 16, shorten(stage.name, ROOM - width_of(right, SMALL) - 24))
    canvas.text(WIDTH - EDGE, 18, right, size=SMALL, anchor="ra", color=PALE)
    canvas.text(EDGE, 44, shorten(_figures(stage), ROOM, FINE_PRINT), size=FINE_PRINT, color=PALE)
    return canvas.pixels()


def _figures(stage: StageMaps) -> str:
    rank = number(stage.effective_rank) if math.isfinite(stage.effective_rank) else "undefined"
    border = "" if math.isnan(stage.border) else f"  ·  border ×{number(stage.border, 2)}"
    return f"dead channels {share(stage.dead)}  ·  effective rank {rank} of {stage.shape[0]}{border}"


def variance(stage: StageMaps) -> str:
    """How much of the variance the colours stand for."""
    return share(sum(stage.explained)) if stage.explained else "–"


def channel_name(number: int, room: float) -> str:
    """Of a channel, shorter where there is no room."""
    name = f"ch {number}"
    return name if width_of(name, FINE_PRINT) <= room else str(number)


def energy_levels(stage: StageMaps) -> Map:
    """Energy of each sample over the largest of those drawn, in 0 to 1."""
    return leveled(cleaned(stage.energy), stage.peak)


def channel_colors(maps: Tensor, *, signed: bool) -> Pixels:
    """Maps of one channel ``(K, *grid)`` in colours, over its own range; white at 0 where the layer has a sign."""
    values = cleaned(maps)
    low = np.float32(0 if signed else values.min())
    levels = leveled(values - low, scale_of(values - low))
    return colored((levels + 1) / 2, "RdBu_r") if signed else colored(levels, "viridis")


def finished(result: FeatureMapsResult, pieces: Iterable[Pixels], said: Sequence[str], *, title: str) -> Image:
    """The pieces between a head and the sentences of the foot."""
    heading = "what each level sees"
    head = heading_pixels(f"{title} · {heading}" if title else heading)
    kept = [*_who(result), ENERGY, *said, *_how(result), *(f"{note}." for note in result.remarks)]
    return stacked([head, *pieces, foot(kept, warned=[f"{alert}." for alert in result.alerts])])


def _who(result: FeatureMapsResult) -> list[str]:
    drawn = [f"#{index}" for index in result.samples[: len(result.shown)] if index is not None]
    of = f"Figures, channels and components are of {len(result.samples)} samples."
    return [f"Samples from top to bottom: {', '.join(drawn)}. {of}" if drawn else of]


def _how(result: FeatureMapsResult) -> list[str]:
    signs = {stage.signed for stage in result.stages}
    colors = {
        frozenset({True}): "red is above 0, blue below",
        frozenset({False}): "dark is low, yellow high",
    }.get(frozenset(signs), "red is above 0, blue below, where the layer has both; else dark is low, yellow high")
    channels = f"Channels (ch) are those that vary most over samples, each in its own range: {colors}."
    return [channels, "PCA: the principal components of channels as red, green and blue; their share of the variance."]
