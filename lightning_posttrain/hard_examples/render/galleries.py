"""Hard samples as pictures: galleries of images, spectrograms and series."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from lightning_posttrain.core.drawing.canvas import Canvas, Pixels, wrapped
from lightning_posttrain.core.output.artifacts import Image
from lightning_posttrain.hard_examples.render.masks import mask_pictures, masks_image
from lightning_posttrain.hard_examples.result import HardGroup, HardReport
from lightning_posttrain.samples.kinds import Kind
from lightning_posttrain.samples.render.gallery import Gallery, gallery, is_narrow
from lightning_posttrain.samples.render.grid import AXES, STRETCHED, are_photos, in_a_line, is_stretched, size_of
from lightning_posttrain.samples.render.maps import framed, picture_pixels
from lightning_posttrain.samples.render.series import channel_legend, channels_remark, lane_height, over, signal_pixels
from lightning_posttrain.samples.render.sheet import EDGE, ROOM, Map, cleaned, foot, heading_pixels, stacked

PICTURES = ("image", "spectrogram")
DRAWN = (*PICTURES, "series")
LEAST, MOST = 64, 1024
"""Pixels a side of an enlarged picture, where it is not larger by itself."""
HEAD = 40
LIMITS = ((5, 1.3), (4, 1.6), (3, 2.5), (2, 6.0), (1, float("inf")))
"""Images in a line, by how many times wider than high they may be."""
WRONG, RIGHT = "Actual → predicted.", "Green: predicted right."
FIGURES = "The percentage is the probability of the prediction."


@dataclass(frozen=True)
class _Shown:
    """A group whose samples can be drawn."""

    kind: Kind
    group: HardGroup
    samples: Tensor

    @property
    def most(self) -> int:
        """Samples in a line, at most."""
        if self.kind in PICTURES:
            shape = self.samples.shape[2] / self.samples.shape[1]
            return 3 if self.kind == "spectrogram" else next(most for most, limit in LIMITS if shape < limit)
        return 2

    def upright(self) -> Map:
        """Pictures ``(K, H, W, 3)``; the low frequencies of a spectrogram are at the bottom."""
        values = cleaned(self.samples)
        return values[:, ::-1] if self.kind == "spectrogram" else values

    def cells(self, width: int) -> list[Pixels]:
        """Each sample in a cell."""
        if self.kind in PICTURES:
            size = self.size(width)
            return [framed(picture_pixels(picture, *size), size[0], width) for picture in self.upright()]
        height = lane_height(self.samples.shape[1])
        ground = np.full((height, width, 3), 255, np.uint8)
        return [over(signal_pixels(signal, width, height), ground) for signal in self.samples]

    def size(self, width: int) -> tuple[int, int]:
        """Height and width of a picture in a cell."""
        return size_of(self.kind, *self.samples.shape[1:3], width=width)

    def remarks(self, width: int) -> list[str]:
        """What a reader of the pictures should know."""
        if self.kind == "series":
            return [f"{self.samples.shape[2]} steps.", *channels_remark(self.samples.shape[1])]
        rows, columns = self.samples.shape[1:3]
        stretched = self.kind == "image" and is_stretched(rows, columns, self.size(width))
        return [STRETCHED] if stretched else []

    def legend(self, names: Sequence[str]) -> Iterator[Pixels]:
        """The colours of channels."""
        return channel_legend(self.samples.shape[1], names) if self.kind == "series" else iter(())


def group_image(report: HardReport, group: HardGroup, title: str = "") -> Image | None:
    """Draw the samples of a group, each with its classes, position, probability and loss below.

    Args:
        report: what the group is of.
        group: one of the report's.
        title: stands above, as ``"val"``.

    Returns:
        The picture; None where there is no sample, or they are no images, spectrograms or series, or cannot be shown.
    """
    if report.kind == "image" and group.truth is not None:
        return masks_image(report, group, title)
    return _sheet(report, _shown(report, [group]), _heading(report, group.title, title))


def cells_image(report: HardReport, title: str = "") -> Image | None:
    """Draw the most confused pairs of classes, each with its worst samples.

    Args:
        report: what to draw.
        title: stands above, as ``"val"``.

    Returns:
        The picture; None where no pair is confused, or samples cannot be shown.
    """
    heading = _heading(report, "most confused pairs", title)
    return _sheet(report, _shown(report, report.cells), heading, apart=True)


def pictures(report: HardReport) -> Iterator[tuple[str, Image]]:
    """Each image or spectrogram by itself, for a folder of pictures.

    They are never reduced, and enlarged by a whole factor until no side is below 64 pixels or one would be above 1024.

    Yields:
        Name and picture: ``"highest_loss/01"`` of a group, ``"cells/<name>/01"`` of a confused pair; of images with a
        class at each position also ``"highest_loss/01_truth"``, ``_prediction`` and ``_wrong``.
    """
    if report.kind not in PICTURES:
        return
    named = [(shown.group.name, shown) for shown in _shown(report, report.groups)]
    named += [(f"cells/{shown.group.name}", shown) for shown in _shown(report, report.cells)]
    for name, shown in named:
        photo = are_photos(shown.kind, shown.samples)
        for rank, picture in enumerate(shown.upright(), start=1):
            yield f"{name}/{rank:02d}", Image(torch.from_numpy(_enlarged(picture)), photo=photo, files_only=True)
        yield from ((f"{name}/{part}", picture) for part, picture in mask_pictures(shown.group))


def _enlarged(picture: Map) -> Pixels:
    height, width = picture.shape[:2]
    factor = min(-(-LEAST // min(height, width)), max(MOST // max(height, width), 1))
    return np.array(picture_pixels(picture, height * factor, width * factor))


def _shown(report: HardReport, groups: Sequence[HardGroup]) -> list[_Shown]:
    kind = report.kind
    if kind is None or kind not in DRAWN:
        return []
    return [_Shown(kind, group, group.shown) for group in groups if group.examples and group.shown is not None]


def _sheet(report: HardReport, parts: Sequence[_Shown], heading: Pixels, *, apart: bool = False) -> Image | None:
    """All parts in cells of one width; ``apart`` where a heading says the classes of each, also of empty cells."""
    if not parts:
        return None
    layout = _layout(parts, classes=not apart)
    pieces = [heading, *parts[0].legend(report.names)]
    for part in parts:
        pieces += [_subheading(part.group.title)] if apart else []
        pieces += layout.lines(part.cells(layout.width), part.group.examples)
    pieces += [_subheading(cell.title) for cell in report.cells if apart and not cell.examples]
    said = dict.fromkeys(remark for part in parts for remark in part.remarks(layout.width))
    said |= {report.colors: None} if report.colors else {}
    colors = [] if apart else dict.fromkeys(RIGHT if example.right else WRONG for example in parts[0].group.examples)
    picture = stacked([*pieces, foot([" ".join([*colors, FIGURES, *said])])])
    return replace(picture, photo=any(are_photos(part.kind, part.samples) for part in parts))


def _layout(parts: Sequence[_Shown], *, classes: bool) -> Gallery:
    """As many in a line as their shape and their names allow, such that lines are filled alike."""
    examples = [example for part in parts for example in part.group.examples]
    most = min(part.most for part in parts)
    if classes and most == 5 and is_narrow(examples, most):
        most = 4
    across = in_a_line(max(len(part.group.examples) for part in parts), most)
    return gallery(examples, across=across, classes=classes)


def _heading(report: HardReport, what: str, title: str) -> Pixels:
    axes = AXES if report.kind == "spectrogram" else "time →" if report.kind == "series" else ""
    return heading_pixels(f"{title} · {what}" if title else what, axes)


def _subheading(text: str) -> Pixels:
    lines = wrapped(text, ROOM, most=2)
    canvas = Canvas(HEAD + 28 * (len(lines) - 1))
    canvas.lines(EDGE, HEAD - 11, lines, 28, anchor="ls")
    return canvas.pixels()
