"""What every picture is drawn with: a sheet, text that fits, and colours.

TensorBoard shows an image 350 CSS pixels wide whatever its size, by nearest neighbour. So pictures are
``WIDTH`` wide, twice that, and their text is seldom below ``TEXT`` pixels high. On the page on which one lands an image
is as high as its card, and broader than high: a single plot is ``WIDE``, with its legend at its side.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import Literal

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.ft2font import FT2Font
from numpy.typing import NDArray
from PIL import Image as PILImage
from PIL import ImageDraw, ImageFont

from lightning_posttrain.core.output.artifacts import Image

WIDTH = 700
WIDE = (960, 640)
TEXT = 22
_DEJAVU = str(Path(mpl.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf")
INK, PALE = (32, 33, 36), (128, 134, 139)

Color = tuple[int, int, int]
Pixels = NDArray[np.uint8]


class Canvas:
    """A sheet of ``width`` × ``height`` pixels.

    Args:
        height: in pixels.
        width: in pixels.
        color: of the sheet.
    """

    def __init__(self, height: int, width: int = WIDTH, color: Color = (255, 255, 255)) -> None:
        self._sheet = PILImage.new("RGB", (width, height), color)
        self._draw = ImageDraw.Draw(self._sheet)

    def text(
        self, x: float, y: float, text: str, *, size: int = TEXT, anchor: str = "la", color: Color = INK,
        halo: Color | None = None,
    ) -> None:  # fmt: skip
        """Write ``text`` with its ``anchor`` (Pillow's two letters) at ``(x, y)``, on a rim of the colour ``halo``."""
        text = one_line(text)
        rim = 0 if halo is None else 3
        face = font(size, covering(text))
        self._draw.text((x, y), text, fill=color, font=face, anchor=anchor, stroke_width=rim, stroke_fill=halo)

    def lines(
        self, x: float, y: float, lines: Sequence[str], step: float, *, size: int = TEXT, anchor: str = "la",
        color: Color = INK,
    ) -> None:  # fmt: skip
        """Write lines, one below the other, ``step`` apart, the first at ``y``."""
        for place, line in enumerate(lines):
            self.text(x, y + step * place, line, size=size, anchor=anchor, color=color)

    def upright(self, x: float, y: float, text: str, *, size: int = TEXT, color: Color = INK) -> None:
        """Write ``text`` from bottom to top, its end centred on ``x`` and starting at ``y`` from below."""
        text = one_line(text)
        face = font(size, covering(text))
        width, height = int(face.getlength(text)) + 2, int(size * 1.4)
        label = PILImage.new("RGB", (width, height), "white")
        ImageDraw.Draw(label).text((0, height / 2), text, fill=color, font=face, anchor="lm")
        turned = label.rotate(90, expand=True)
        self._sheet.paste(turned, (int(x - height / 2), int(y - width)))

    def name(self, x: float, y: float, name: str, room: float, *, size: int, most: int = 2) -> None:
        """Write a name of a row that ends at ``x``, its middle at ``y``, in two lines where it is long."""
        lines = name_lines(name, room, size, most=most)
        for place, text in enumerate(lines):
            self.text(x, y + 20 * (place - (len(lines) - 1) / 2), text, size=size, anchor="rm")

    def box(self, x: float, y: float, width: float, height: float, color: Color) -> None:
        """Fill a rectangle."""
        self._draw.rectangle((x, y, x + width - 1, y + height - 1), fill=color)

    def paste(self, x: int, y: int, pixels: Pixels) -> None:
        """Place ``pixels (H, W, 3)``."""
        self._sheet.paste(PILImage.fromarray(pixels), (x, y))

    def image(self) -> Image:
        """The finished picture."""
        return Image(torch.from_numpy(self.pixels()))

    def pixels(self) -> Pixels:
        """What has been drawn ``(H, W, 3)``."""
        return np.array(self._sheet)


@cache
def font(size: int, path: str) -> ImageFont.FreeTypeFont:
    """A font at a size in pixels."""
    return ImageFont.truetype(path, size)


@lru_cache(4096)
def covering(text: str) -> str:
    """Path of DejaVu Sans, which matplotlib ships, or of an installed font for the first character that it lacks."""
    lacking = (c for c in text if not c.isspace() and not _face(_DEJAVU).get_char_index(ord(c)))
    return next((_font_of(c) for c in lacking), _DEJAVU)


@lru_cache(4096)
def _font_of(character: str) -> str:
    from matplotlib import font_manager

    installed = sorted({entry.fname for entry in font_manager.fontManager.ttflist})
    # the font of last resort has a box for every character
    real = (path for path in installed if "LastResort" not in path)
    return next((path for path in real if _face(path).get_char_index(ord(character))), _DEJAVU)


@lru_cache(256)
def _face(path: str) -> FT2Font:
    return FT2Font(path)


def one_line(text: str) -> str:
    """``text`` with every run of white space and control characters as one space."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def width_of(text: str, size: int = TEXT) -> float:
    """Width of ``text`` in pixels."""
    text = one_line(text)
    return font(size, covering(text)).getlength(text)


def shorten(text: str, room: float, size: int = TEXT) -> str:
    """``text``, or its beginning and end where it is wider than ``room`` pixels."""
    if width_of(text, size) <= room:
        return text
    # the beginning and the end, as names that differ do so at either
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if width_of(_clipped(text, middle), size) <= room else (low, middle - 1)
    return _clipped(text, low)


def wrapped(text: str, room: float, size: int = TEXT, most: int = 4) -> list[str]:
    """``text`` in lines that are no wider than ``room`` pixels, the last shortened where there would be too many."""
    lines: list[str] = []
    for word in one_line(text).split():
        longer = f"{lines[-1]} {word}" if lines else word
        fits = width_of(longer, size) <= room
        lines = [*lines[:-1], longer] if fits or len(lines) == most else [*lines, word]
    return [shorten(line, room, size) for line in lines]


def name_lines(name: str, room: float, size: int = TEXT, most: int = 2) -> list[str]:
    """A name in lines no wider than ``room`` pixels, broken after a space or a mark as _ or -, the last shortened.

    Example:
        >>> name_lines("mean radius", 500), name_lines("income_last_year_eur", 150)
        (['mean radius'], ['income_last_', 'year_eur'])
    """
    lines = [""]
    for piece in re.findall(r"[^\s_/.-]*[\s_/.-]*", one_line(name)):
        fits = width_of(lines[-1] + piece, size) <= room
        if fits or not lines[-1] or len(lines) == most:
            lines[-1] += piece
        else:
            lines.append(piece)
    return [shorten(line.rstrip(), room, size) for line in lines]


def _clipped(text: str, kept: int) -> str:
    return f"{text[: kept - kept // 3].rstrip()}…{text[len(text) - kept // 3 :].lstrip()}"


def colored(values: NDArray[np.floating], name: str) -> Pixels:
    """Map values in 0 to 1, of any shape, to colours of a matplotlib colormap."""
    table = (mpl.colormaps[name](np.arange(256))[:, :3] * 255).round().astype(np.uint8)
    steps = np.nan_to_num(np.clip(values, 0, 1)) * 255
    chosen: Pixels = table[steps.round().astype(np.intp)]
    return chosen


def resized(pixels: Pixels, height: int, width: int, how: Literal["nearest", "smooth"] = "nearest") -> Pixels:
    """Scale ``pixels (H, W, 3)`` or ``(H, W)``; where they become fewer, each is a mean of those it stands for."""
    method = PILImage.Resampling.NEAREST if how == "nearest" else PILImage.Resampling.BICUBIC
    if height < pixels.shape[0] or width < pixels.shape[1]:
        method = PILImage.Resampling.BOX
    return np.asarray(PILImage.fromarray(pixels).resize((width, height), method))


def ink_on(color: Color) -> Color:
    """Black or white, whichever reads better on ``color``."""
    luminance = (0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2]) / 255
    return INK if luminance > 0.55 else (255, 255, 255)
