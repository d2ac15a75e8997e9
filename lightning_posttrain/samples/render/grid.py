"""Maps of images and spectrograms: for each sample its input and one map a method."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lightning_posttrain.core.drawing.canvas import PALE, Canvas, Pixels, width_of, wrapped
from lightning_posttrain.core.output.artifacts import Image
from lightning_posttrain.samples.kinds import Kind
from lightning_posttrain.samples.render.captions import caption
from lightning_posttrain.samples.render.maps import (
    CLASS_ACTIVATION,
    framed,
    map_pixels,
    overlay_pixels,
    picture_pixels,
    reduced,
    size_in,
)
from lightning_posttrain.samples.render.regions import (
    Mask,
    borders,
    enlarged,
    lined,
    marked,
    region_pixels,
    region_remarks,
    rule_pixels,
)
from lightning_posttrain.samples.render.sheet import (
    EDGE,
    FINE_PRINT,
    MARGIN,
    NO_PART,
    ROOM,
    RULE,
    SMALL,
    Map,
    cleaned,
    empty,
    reason,
    scale_remark,
    scale_text,
    scales,
    sheet,
    whole,
)
from lightning_posttrain.samples.result import SampleMaps

GAP = 8
PHOTO = 3 * 64 * 64
"""Values from which an image has so much detail that JPEG is smaller at an equal look."""
TALLEST = 340
LARGE = 96
"""Pixels a side from which an image has so much in it that three stand in a line."""
LINE = 23
OUTLINED = "Yellow: around the fifth of the area where a map over the input is strongest."
STRETCHED = "Pictures are stretched, as they would be too thin."
AXES = "time →   frequency ↑"


@dataclass(frozen=True)
class Cell:
    """A picture with a title above it and a few words below."""

    title: str
    pixels: Pixels
    below: str = ""


@dataclass(frozen=True)
class Layout:
    """How many cells stand in a line, their size, that of the picture in one, and the lines of a title."""

    columns: int
    height: int
    width: int
    picture: tuple[int, int]
    heads: int


@dataclass(frozen=True)
class Grid:
    """Maps at the size they are drawn in, what full colour stands for, and the parts they are of: borders, numbers."""

    saliency: SampleMaps
    layout: Layout
    maps: Mapping[str, Map]
    scales: Mapping[str, list[float]]
    edges: Sequence[Mask] = ()
    labels: Sequence[NDArray[np.int64]] = ()

    def pieces(self, row: int, picture: Map) -> Iterator[Pixels]:
        """The caption of a sample, and its cells in lines."""
        yield caption(self.saliency.samples[row])
        cells, across = list(self.cells(row, picture)), self.layout.columns
        for start in range(0, len(cells), across):
            yield _line(cells[start : start + across], self.layout)

    def cells(self, row: int, picture: Map) -> Iterator[Cell]:
        """The input and each map; one that tells regions apart, and no more, lies over the input."""
        plain = picture_pixels(picture, *self.layout.picture)
        yield Cell("Input", self._framed(lined(plain, self.edges[row]) if self.edges else plain))
        for name in self.maps:
            yield self._map(name, row, plain)

    def _map(self, name: str, row: int, plain: Pixels) -> Cell:
        why = reason(self.saliency, name, row)
        if why is None and not self.maps[name][row].any():
            why = NO_PART if name == RULE else "all zero"
        if why:
            return Cell(self.saliency.titles[name], empty(why, self.layout.height, self.layout.width))
        scaled = not self.saliency.shared_scale and name != RULE
        below = scale_text(self.scales[name][row], name in self.saliency.signed) if scaled else ""
        return Cell(self.saliency.titles[name], self._framed(self._drawn(name, row, plain)), below)

    def _drawn(self, name: str, row: int, plain: Pixels) -> Pixels:
        values, scale, signed = self.maps[name][row], self.scales[name][row], name in self.saliency.signed
        if self.edges and name == RULE:
            marks = self.saliency.marks[row] if self.saliency.marks else {}
            return marked(rule_pixels(plain, values, self.edges[row]), self.labels[row], marks)
        if self.edges:
            return region_pixels(plain, values, self.edges[row], scale=scale, signed=signed)
        if name in CLASS_ACTIVATION:
            return overlay_pixels(plain, values, scale, signed)
        return map_pixels(values, scale, signed, size=self.layout.picture)

    def _framed(self, pixels: Pixels) -> Pixels:
        return framed(pixels, self.layout.height, self.layout.width)


def grid_image(saliency: SampleMaps, *, title: str = "") -> Image:
    """Draw the grid; the low frequencies of a spectrogram are at the bottom."""
    upward = -1 if saliency.kind == "spectrogram" else 1
    layout = _layout(saliency)
    maps = {name: reduced(cleaned(values)[:, ::upward], *layout.picture) for name, values in saliency.maps.items()}
    regions = () if saliency.regions is None else saliency.regions.cpu().numpy()[:, ::upward]
    labels = [enlarged(each, *layout.picture) for each in regions]
    grid = Grid(saliency, layout, maps, scales(saliency, maps), list(map(borders, labels)), labels)
    pictures = saliency.shown.numpy()[:, ::upward]
    pieces = [piece for row, picture in enumerate(pictures) for piece in grid.pieces(row, picture)]
    said = [*scale_remark(saliency, grid.scales), *region_remarks(saliency), *_resizing(saliency, layout)]
    said += [OUTLINED] if not grid.edges and saliency.maps.keys() & set(CLASS_ACTIVATION) else []
    picture = sheet(saliency, pieces, said, title=title, axes=AXES if saliency.kind == "spectrogram" else "")
    return replace(picture, photo=are_photos(saliency.kind, saliency.shown))


def _layout(saliency: SampleMaps) -> Layout:
    titles = [saliency.titles[name] for name in saliency.maps]
    rows, columns = saliency.shown.shape[1:3]
    sound = saliency.kind == "spectrogram"
    large = saliency.kind == "image" and min(rows, columns) >= LARGE
    across = _across(len(titles) + 1, most=3 if sound or large else _most(columns / rows))
    width = (ROOM - GAP * (across - 1)) // across
    picture = size_of(saliency.kind, rows, columns, width=width)
    reasons = [why for refused in saliency.refused.values() for why in refused.values()]
    needed = [22 * len(whole(why, width - MARGIN, FINE_PRINT)) + 10 for why in reasons]
    heads = max(len(_title(text, width)) for text in ["Input", *titles])
    return Layout(across, max([picture[0], *needed]), width, picture, heads)


def are_photos(kind: Kind, shown: Tensor) -> bool:
    """Whether samples ``(K, H, W, 3)`` are images with much detail."""
    return kind == "image" and shown[0].numel() > PHOTO


def size_of(kind: Kind, rows: int, columns: int, *, width: int) -> tuple[int, int]:
    """Height and width of a sample in a cell: a spectrogram fills it, an image keeps its shape."""
    if kind == "spectrogram":
        return int(np.clip(width * rows / columns, 0.6 * width, width)), width
    return size_in(rows, columns, width=width, height=min(2 * width, TALLEST))


def is_stretched(rows: int, columns: int, size: tuple[int, int]) -> bool:
    """Whether an image has another shape at this height and width."""
    height, width = size
    return not 0.8 < height * columns / (width * rows) < 1.25


def _most(shape: float) -> int:
    """Cells in a line for pictures that are so many times wider than high."""
    return 4 if shape < 2.5 else 2 if shape < 6 else 1


def _across(count: int, most: int) -> int:
    """One more than ``most`` where that saves a line."""
    return 5 if most == 4 and count == 5 else in_a_line(count, most)


def in_a_line(count: int, most: int) -> int:
    """Cells in a line such that the lines are filled alike, two at least where ``most`` allows.

    Example:
        >>> [in_a_line(count, most=4) for count in (1, 4, 5, 6, 8)]
        [2, 4, 3, 3, 4]
    """
    lines = -(-count // most)
    return min(max(-(-count // lines), 2), most)


def _title(text: str, width: int) -> list[str]:
    return [text] if width_of(text, SMALL) <= width else wrapped(text, width, SMALL, most=2)


def _line(cells: Sequence[Cell], layout: Layout) -> Pixels:
    head = LINE * layout.heads + 4
    canvas = Canvas(head + layout.height + (LINE if any(cell.below for cell in cells) else 0) + GAP)
    for place, cell in enumerate(cells):
        x = EDGE + place * (layout.width + GAP)
        lines = _title(cell.title, layout.width)
        for up, text in enumerate(reversed(lines)):
            canvas.text(x, head - 6 - LINE * up, text, size=SMALL, anchor="ls", color=PALE)
        canvas.paste(x, head, cell.pixels)
        canvas.text(x, head + layout.height + 2, cell.below, size=FINE_PRINT, color=PALE)
    return canvas.pixels()


def _resizing(saliency: SampleMaps, layout: Layout) -> list[str]:
    (rows, columns), (height, width) = saliency.shown.shape[1:3], layout.picture
    said = []
    if saliency.maps and (rows > height or columns > width):
        said.append("Maps are larger than drawn: a pixel is the mean of those it stands for.")
    if saliency.kind == "image" and is_stretched(rows, columns, layout.picture):
        said.append(STRETCHED)
    return said
