"""Maps of time series: the signal over a strip that is coloured, column by column, by each method."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from PIL import Image as PILImage
from PIL import ImageDraw

from lightning_posttrain.core.drawing.canvas import INK, PALE, WIDTH, Canvas, Color, Pixels, one_line, shorten, width_of
from lightning_posttrain.core.drawing.plot import ticks
from lightning_posttrain.core.output.artifacts import Image
from lightning_posttrain.samples.kinds import channel_name
from lightning_posttrain.samples.render.captions import caption
from lightning_posttrain.samples.render.maps import framed
from lightning_posttrain.samples.render.sheet import (
    EDGE,
    FINE_PRINT,
    ROOM,
    Map,
    cleaned,
    empty,
    label,
    leveled,
    map_label,
    reason,
    scale_remark,
    scales,
    shaded,
    sheet,
)
from lightning_posttrain.samples.result import SampleMaps

HEIGHT, AXIS = 92, 34
FINE = 2
LEGEND = 3
"""Channels named in a line."""
CHANNELS: tuple[Color, ...] = (INK, (112, 40, 150), (0, 104, 60), (140, 80, 0), (0, 92, 140), (190, 0, 120))
"""Dark, as they lie over colours; as many channels are drawn."""


def series_image(saliency: SampleMaps, *, title: str = "") -> Image:
    """Draw a strip for each sample and method: the signal, over what speaks for and against what is explained."""
    maps = {name: _lanes(saliency, name) for name in saliency.maps}
    shown = scales(saliency, maps)
    columns = {name: _columns(values) for name, values in maps.items()}
    pieces = list(channel_legend(saliency.shown.shape[1], saliency.names))
    for row, signal in enumerate(saliency.shown):
        lines = signal_pixels(signal, ROOM, lane_height(saliency.shown.shape[1]))
        pieces.append(caption(saliency.samples[row]))
        for name in maps:
            pieces += _strip(saliency, name, row, levels=columns[name][row], shown=shown, lines=lines)
        pieces += [] if maps else _plain(lines)
        pieces.append(time_axis(saliency.shown.shape[2]))
    said = [*scale_remark(saliency, shown, "at the right of each strip"), *_reduced(saliency)]
    return sheet(saliency, pieces, said, title=title, axes="time →")


def _lanes(saliency: SampleMaps, name: str) -> Map:
    """What is drawn of a method: ``(K, C, T)`` of the channels that are drawn, or as of one where they have one map."""
    each = saliency.by_channel.get(name)
    return cleaned(saliency.maps[name])[:, None] if each is None else cleaned(each)[:, : len(CHANNELS)]


def _columns(lanes: Map) -> Map:
    """``(K, C, T)`` in as many columns as a strip is wide."""
    found: Map = strongest(lanes.reshape(-1, lanes.shape[-1]), ROOM).reshape(*lanes.shape[:2], ROOM)
    return found


def strongest(values: Map, count: int) -> Map:
    """``(K, T)`` in ``count`` columns, each with the value of the largest magnitude of those it stands for."""
    length = values.shape[1]
    starts = np.arange(count) * length // count
    if length <= count:
        return values[:, starts]
    high, low = np.maximum.reduceat(values, starts, axis=1), np.minimum.reduceat(values, starts, axis=1)
    chosen: Map = np.where(high >= -low, high, low)
    return chosen


def signal_pixels(signal: torch.Tensor, width: int, height: int) -> Pixels:
    """Channels ``(C, T)`` one above the other, each over its own range, as ``(height, width, 4)`` with opacity."""
    sheet = PILImage.new("RGBA", (width * FINE, height * FINE), (255, 255, 255, 0))
    brush = ImageDraw.Draw(sheet)
    drawn = signal[: len(CHANNELS)].float().numpy()
    lane = height * FINE / max(len(drawn), 1)
    for place, values in enumerate(drawn):
        for piece in polylines(values, width * FINE, lane * 0.84):
            moved = [(x, y + lane * (place + 0.08)) for x, y in piece]
            if len(moved) > 1:
                brush.line(moved, fill=CHANNELS[place], width=2 * FINE, joint="curve")
            brush.ellipse(
                [moved[0][0] - FINE, moved[0][1] - FINE, moved[0][0] + FINE, moved[0][1] + FINE], CHANNELS[place]
            )
    return np.asarray(sheet.resize((width, height), PILImage.Resampling.BOX))


def polylines(values: Map, width: int, height: float) -> Iterator[list[tuple[float, float]]]:
    """A signal ``(T,)`` as lines in a box, broken where it is not finite; its range where columns are fewer."""
    values = np.where(np.isfinite(values), values, np.nan).astype(np.float32)
    known = values[~np.isnan(values)]
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 0.0)
    x, y = _envelope(values, width)
    y = (high - y) / (high - low) * height if high > low else np.where(np.isnan(y), y, height / 2)
    for piece in np.split(np.arange(len(y)), np.flatnonzero(np.isnan(y))):
        kept = [(float(x[at]), float(y[at])) for at in piece if not np.isnan(y[at])]
        if kept:
            yield kept


def _envelope(values: Map, width: int) -> tuple[Map, Map]:
    length = len(values)
    if length <= 2 * width:
        return ((np.arange(length) + 0.5) * width / length).astype(np.float32), values
    starts = np.arange(width) * length // width
    ends = np.stack([np.fmin.reduceat(values, starts), np.fmax.reduceat(values, starts)], axis=1)
    # down and up again by turns, which keeps the line in its column
    ends[1::2] = ends[1::2, ::-1]
    return np.repeat(np.arange(width, dtype=np.float32) + 0.5, 2), ends.ravel()


def lane_height(channels: int) -> int:
    """Height of a strip in which so many channels stand one above the other."""
    return max(HEIGHT, 28 * min(channels, len(CHANNELS)))


def _strip(
    saliency: SampleMaps, name: str, row: int, *, levels: Map, shown: dict[str, list[float]], lines: Pixels
) -> list[Pixels]:
    scale = shown[name][row]
    head = map_label(saliency, name, row, values=levels, scale=scale)
    why = reason(saliency, name, row)
    if why:
        return [head, _inset(empty(why, *lines.shape[:2]))]
    colors = shaded(0.85 * leveled(levels, scale), name in saliency.signed)
    lane = np.arange(len(lines)) * len(levels) // len(lines)
    return [head, _inset(over(lines, colors[lane]))]


def _plain(lines: Pixels) -> list[Pixels]:
    return [label("Input", ""), _inset(over(lines, np.full((*lines.shape[:2], 3), 255, np.uint8)))]


def _inset(strip: Pixels) -> Pixels:
    canvas = Canvas(len(strip))
    canvas.paste(EDGE, 0, strip)
    return canvas.pixels()


def over(lines: Pixels, ground: Pixels) -> Pixels:
    """Lines ``(H, W, 4)`` with opacity over ``ground (H, W, 3)``, with a thin border."""
    opacity = lines[..., 3:].astype(np.float32) / 255
    mixed: Pixels = np.round(ground + opacity * (lines[..., :3].astype(np.float32) - ground)).astype(np.uint8)
    return framed(mixed, *mixed.shape[:2])


def time_axis(length: int) -> Pixels:
    """Positions from 0 below a strip."""
    canvas = Canvas(AXIS)
    for value in ticks(0, max(length - 1, 1), least=1.0):
        if value < length:
            x, text = EDGE + (value + 0.5) * ROOM / length, f"{value:.0f}"
            half = width_of(text, FINE_PRINT) / 2
            canvas.box(round(x), 0, 1, 6, PALE)
            canvas.text(
                min(max(x, EDGE + half), WIDTH - EDGE - half), 8, text, size=FINE_PRINT, anchor="ma", color=PALE
            )
    return canvas.pixels()


def channel_legend(channels: int, names: Sequence[str]) -> Iterator[Pixels]:
    """The colour and the name of each channel that is drawn; nothing where there is one without a name."""
    count = min(channels, len(CHANNELS))
    if count == 1 and not names:
        return
    canvas = Canvas(6 + 25 * -(-count // LEGEND))
    room = ROOM / min(count, LEGEND)
    for place in range(count):
        name = one_line(channel_name(place, names))
        x, y = EDGE + place % LEGEND * room, 16 + 25 * (place // LEGEND)
        canvas.box(round(x), y - 2, 20, 5, CHANNELS[place])
        canvas.text(x + 26, y, shorten(name, room - 34, FINE_PRINT), size=FINE_PRINT, anchor="lm")
    yield canvas.pixels()


def channels_remark(channels: int) -> list[str]:
    """Which channels are drawn, and over what."""
    said = [f"Drawn are the first {len(CHANNELS)} of {channels} channels."] if channels > len(CHANNELS) else []
    return [*said, "Each channel is drawn over its own range."] if channels > 1 else said


def _reduced(saliency: SampleMaps) -> list[str]:
    channels, length = saliency.shown.shape[1:]
    said = channels_remark(channels)
    if saliency.by_channel:
        said.append("Behind each channel stands its own map, where a method tells channels apart.")
    more = f"Of {length} steps, each column shows the range of the signal and the largest attribution."
    return [*said, more] if length > ROOM else said
