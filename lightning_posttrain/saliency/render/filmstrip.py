"""How maps change over epochs, and what they are on the average of a class."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from lightning_posttrain.core.drawing.canvas import PALE, Canvas, Pixels, shorten, width_of
from lightning_posttrain.core.output.artifacts import Image
from lightning_posttrain.saliency.result import ClassMeans
from lightning_posttrain.samples.render.maps import framed, map_pixels, picture_pixels, reduced, size_in
from lightning_posttrain.samples.render.sheet import (
    EDGE,
    FINE_PRINT,
    MARGIN,
    ROOM,
    SMALL,
    Map,
    cleaned,
    empty,
    foot,
    heading_pixels,
    scale_of,
    scale_text,
    stacked,
)

GAP = 4
LARGEST = 220
PAIRS, APART = 4, 14
"""Classes in a line, and the pixels between them."""
PAIR = (ROOM - APART * (PAIRS - 1)) // PAIRS
SIGNED = "Red speaks for, blue against."


def filmstrip_image(
    frames: Tensor, epochs: Sequence[int], captions: Sequence[str], *, images: Tensor, signed: bool, title: str
) -> Image:
    """Draw a row for each sample: its input, then its map at each epoch.

    Args:
        frames: maps ``(S, E, H, W)``; NaN where a sample has none at an epoch.
        epochs: the ``E`` epochs, at most twelve for cells of 40 pixels.
        captions: a line above each of the ``S`` samples.
        images: the inputs ``(S, H, W, 3)`` in 0 to 1.
        signed: whether maps have a sign.
        title: stands above, as ``"val · HiResCAM"``.
    """
    width = min((ROOM - GAP * len(epochs)) // (len(epochs) + 1), LARGEST)
    size = size_in(*frames.shape[2:], width=width, height=2 * width, least=24)
    pieces = [heading_pixels(f"{title} over the epochs"), _epochs(epochs, width)]
    for strip, picture, text in zip(frames, images, captions, strict=True):
        first = framed(picture_pixels(cleaned(picture), *size), size[0], width)
        maps = reduced(cleaned(strip), *size)
        missing = strip.isnan().flatten(1).all(dim=1).tolist()
        cells = [
            empty("–", size[0], width) if absent else _map(values, signed, size, width)
            for values, absent in zip(maps, missing, strict=True)
        ]
        pieces.append(_row(text, [first, *cells], width))
    return stacked([*pieces, foot(_said(signed))])


def class_means_image(means: ClassMeans, *, title: str) -> Image:
    """Draw the mean input and the mean map of each class, side by side.

    Args:
        means: what to draw.
        title: stands above, as ``"val"``.
    """
    pieces = [heading_pixels(f"{title} · {means.title} for each class, mean of its samples")]
    for start in range(0, len(means.names), PAIRS):
        rows = range(start, min(start + PAIRS, len(means.names)))
        pieces.append(_side_by_side([_pair(means, i) for i in rows]))
    return stacked([*pieces, foot(_said(means.signed, "Below a name: how many samples, and the scale of the map."))])


def _pair(means: ClassMeans, i: int) -> Pixels:
    image, values, name, count, signed = means.images[i], means.maps[i], means.names[i], means.counts[i], means.signed
    width = (PAIR - GAP) // 2
    size = size_in(*values.shape, width=width, height=2 * width, least=24)
    canvas = Canvas(size[0] + 60, PAIR)
    canvas.text(0, 4, shorten(name, PAIR, SMALL), size=SMALL)
    if not count:
        canvas.paste(0, 52, empty("no samples", size[0], PAIR))
        return canvas.pixels()
    small = reduced(cleaned(values)[None], *size)[0]
    said = f"n = {count}, {scale_text(scale_of(small), signed)}"
    canvas.text(0, 28, shorten(said, PAIR, FINE_PRINT), size=FINE_PRINT, color=PALE)
    canvas.paste(0, 52, framed(picture_pixels(cleaned(image), *size), size[0], width))
    canvas.paste(width + GAP, 52, _map(small, signed, size, width))
    return canvas.pixels()


def _map(values: Map, signed: bool, size: tuple[int, int], width: int) -> Pixels:
    scale = scale_of(values)
    if not scale:
        fits = width_of("all zero", FINE_PRINT) < width - MARGIN
        return empty("all zero" if fits else "0", size[0], width)
    return framed(map_pixels(values, scale, signed, size=size), size[0], width)


def _side_by_side(pairs: Sequence[Pixels]) -> Pixels:
    canvas = Canvas(pairs[0].shape[0])
    for place, pair in enumerate(pairs):
        canvas.paste(EDGE + place * (PAIR + APART), 0, pair)
    return canvas.pixels()


def _epochs(epochs: Sequence[int], width: int) -> Pixels:
    canvas = Canvas(28)
    canvas.text(EDGE, 2, "epoch", size=FINE_PRINT, color=PALE)
    for place, epoch in enumerate(epochs, start=1):
        canvas.text(EDGE + place * (width + GAP) + width / 2, 2, str(epoch), size=SMALL, anchor="ma", color=PALE)
    return canvas.pixels()


def _row(text: str, cells: Sequence[Pixels], width: int) -> Pixels:
    canvas = Canvas(30 + cells[0].shape[0] + 6)
    canvas.text(EDGE, 4, shorten(text, ROOM, SMALL), size=SMALL)
    for place, cell in enumerate(cells):
        canvas.paste(EDGE + place * (width + GAP), 30, cell)
    return canvas.pixels()


def _said(signed: bool, *more: str) -> list[str]:
    return [
        *([SIGNED] if signed else []),
        "Each map is on its own scale: 99 % of its values are below full colour.",
        *more,
    ]
