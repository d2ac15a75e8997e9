"""Hard samples with a class at each position, as of a segmentation: input, truth, prediction, and what is wrong."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from lightning_posttrain.core.drawing.canvas import PALE, Canvas, Color, Pixels, shorten
from lightning_posttrain.core.drawing.number_format import number, share
from lightning_posttrain.core.drawing.plot import class_colors
from lightning_posttrain.core.output.artifacts import Image
from lightning_posttrain.hard_examples.result import HardExample, HardGroup, HardReport
from lightning_posttrain.samples.render.grid import are_photos
from lightning_posttrain.samples.render.maps import framed, picture_pixels, size_in
from lightning_posttrain.samples.render.regions import enlarged
from lightning_posttrain.samples.render.sheet import (
    EDGE,
    FINE_PRINT,
    ROOM,
    SMALL,
    WRONG,
    cleaned,
    foot,
    heading_pixels,
    stacked,
    whole,
)

Classes = NDArray[np.int64]
DRAWN, GAP, LINE, IN_A_LINE, NAMED = 8, 8, 26, 3, 12
"""Samples that are drawn; pixels between cells, and of a line; names in a line, and at all."""
TITLES = ("Input", "Truth", "Prediction", "Wrong")
WIDTH_OF_CELL = (ROOM - GAP * 3) // 4
TALLEST = 2 * WIDTH_OF_CELL
UNCOUNTED: Color = (236, 238, 240)
OPACITY = 0.7
READ = "Red: predicted wrong. Pale: not counted."


@dataclass(frozen=True, eq=False)
class Masked:
    """What is drawn of a sample: picture, and class of each position by truth and prediction, -1 where none counts."""

    picture: Pixels
    truth: Classes
    said: Classes

    @property
    def wrong(self) -> NDArray[np.bool_]:
        """Where the prediction is another class."""
        found: NDArray[np.bool_] = (self.truth >= 0) & (self.truth != self.said)
        return found

    def confused(self) -> tuple[int, int, float] | None:
        """The pair of classes that most positions are wrong by, and its share of these; None where all is right."""
        pairs = np.stack([self.truth[self.wrong], self.said[self.wrong]], axis=1)
        if not len(pairs):
            return None
        kinds, counts = np.unique(pairs, axis=0, return_counts=True)
        actual, predicted = kinds[counts.argmax()].tolist()
        return actual, predicted, float(counts.max() / counts.sum())

    def cells(self, colors: Mapping[int, Color]) -> Iterator[Pixels]:
        """Input, truth, prediction and where it is wrong, at the size that they are drawn in."""
        height, width = self.picture.shape[:2]
        gray = self.picture.mean(axis=2, keepdims=True).repeat(3, axis=2)
        truth, said, wrong = (enlarged(each, height, width) for each in (self.truth, self.said, self.wrong.astype(int)))
        yield self.picture
        yield _tinted(gray, truth, colors)
        yield _tinted(gray, np.where(truth < 0, -1, said), colors)
        pale = np.where(truth[..., None] < 0, UNCOUNTED, gray + 0.6 * (255 - gray))
        yield np.where(wrong[..., None] == 1, WRONG, np.round(pale)).astype(np.uint8)


def _tinted(gray: NDArray[np.floating], classes: Classes, colors: Mapping[int, Color]) -> Pixels:
    tint = np.full(gray.shape, UNCOUNTED, dtype=np.float64)
    for each, color in colors.items():
        tint[classes == each] = color
    mixed: Pixels = np.round(np.where(classes[..., None] < 0, tint, gray + OPACITY * (tint - gray))).astype(np.uint8)
    return mixed


def masks_image(report: HardReport, group: HardGroup, title: str = "") -> Image | None:
    """Draw the samples of a group, each in a line: input, truth, prediction, and where that is wrong.

    Args:
        report: what the group is of.
        group: one whose samples have a class at each position.
        title: stands above, as ``"val"``.

    Returns:
        The picture; None where inputs are not shown, or have no such classes.
    """
    samples = _masked(group)[:DRAWN]
    if not samples:
        return None
    colors = _colors(samples)
    pieces = [heading_pixels(f"{title} · {group.title}" if title else group.title), *_names(report.classes, colors)]
    for example, sample in zip(group.examples, samples, strict=False):
        pieces += [_caption(example, sample, report.classes), _line(list(sample.cells(colors)))]
    more = len(group.examples) - len(samples)
    said = [READ, f"{more} more are in the table." if more else "", report.colors]
    picture = stacked([*pieces, foot([" ".join(filter(None, said))])])
    assert group.shown is not None
    return replace(picture, photo=are_photos("image", group.shown))


def _masked(group: HardGroup) -> list[Masked]:
    if group.shown is None or group.truth is None or group.said is None:
        return []
    size = size_in(*group.shown.shape[1:3], width=WIDTH_OF_CELL, height=TALLEST)
    masks = zip(group.truth.long().numpy(), group.said.long().numpy(), strict=True)
    return [
        Masked(picture_pixels(picture, *size), truth, said)
        for picture, (truth, said) in zip(cleaned(group.shown), masks, strict=True)
    ]


def _colors(samples: Sequence[Masked]) -> dict[int, Color]:
    """Of the classes that are there."""
    numbers = sorted({k for each in samples for k in np.unique([each.truth, each.said]).tolist() if k >= 0})
    return dict(zip(numbers, class_colors(numbers), strict=True))


def mask_pictures(group: HardGroup) -> Iterator[tuple[str, Image]]:
    """Truth, prediction and where it is wrong, of each sample by itself, as ``"01_truth"``, for a folder."""
    samples = _masked(group)
    for rank, sample in enumerate(samples, start=1):
        for name, pixels in zip(TITLES[1:], list(sample.cells(_colors(samples)))[1:], strict=True):
            yield f"{rank:02d}_{name.lower()}", Image(torch.from_numpy(pixels), files_only=True)


def _names(classes: Sequence[str], colors: Mapping[int, Color]) -> Iterator[Pixels]:
    """The colour and the name of each class."""
    shown = list(colors.items())[:NAMED]
    canvas = Canvas(8 + LINE * -(-len(shown) // IN_A_LINE))
    room = ROOM / min(len(shown), IN_A_LINE)
    for place, (each, color) in enumerate(shown):
        x, y = EDGE + place % IN_A_LINE * room, LINE // 2 + LINE * (place // IN_A_LINE)
        canvas.box(round(x), y - 8, 18, 16, color)
        name = classes[each] if each < len(classes) else str(each)
        canvas.text(x + 26, y, shorten(name, room - 34, SMALL), size=SMALL, anchor="lm")
    yield canvas.pixels()


def _caption(example: HardExample, sample: Masked, classes: Sequence[str]) -> Pixels:
    """Position, share of the positions that are wrong, what most of them are taken for, and the loss."""
    at = "" if example.index is None else f"#{example.index}"
    loss = "" if math.isnan(example.loss) else f"loss {number(example.loss, 2)}"
    lines = [" · ".join(filter(None, (at, example.predicted or "all positions right", loss)))]
    confused = sample.confused()
    if confused is not None:
        actual, predicted, part = confused
        lines += whole(f"{share(part)} of these: {classes[actual]} taken for {classes[predicted]}", ROOM, SMALL)
    canvas = Canvas(10 + LINE * len(lines))
    canvas.text(EDGE, 8, shorten(lines[0], ROOM, SMALL + 1), size=SMALL + 1)
    canvas.lines(EDGE, 8 + LINE, lines[1:], LINE, size=SMALL, color=PALE)
    return canvas.pixels()


def _line(cells: Sequence[Pixels]) -> Pixels:
    height = cells[0].shape[0]
    canvas = Canvas(24 + height + GAP)
    for place, (name, pixels) in enumerate(zip(TITLES, cells, strict=True)):
        x = EDGE + place * (WIDTH_OF_CELL + GAP)
        canvas.text(x, 20, name, size=FINE_PRINT, anchor="ls", color=PALE)
        canvas.paste(x, 24, framed(pixels, height, WIDTH_OF_CELL))
    return canvas.pixels()
