"""Pictures inside the page, as WebP in a data address, within a budget."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

# Pillow finds WebP by importing all that it knows, where this is not there: no thing for a thread
from PIL import Image, WebPImagePlugin

FORMAT = WebPImagePlugin.WebPImageFile.format
SIDES = (320, 256, 192, 144, 112, 88)
"""Longest sides of samples, the largest that the budget holds is taken."""
WIDTHS = (1000, 760, 560, 420)
"""Pixels that a whole sheet of pictures is wide, the most that its bytes allow."""
SHEET = 420_000
"""Bytes of the page for one sheet, at most."""
PIXELATED = 72
"""A picture whose sides are below was small before: its pixels are kept as they are."""


@dataclass(frozen=True)
class Embedded:
    """A picture as it stands in the page.

    Args:
        source: a data address.
        width: pixels.
        height: pixels.
    """

    source: str
    width: int
    height: int


@final
class Album:
    """Embeds pictures until a number of bytes is used up.

    Args:
        budget: bytes of the page for all of them.
    """

    def __init__(self, budget: int) -> None:
        self._left = budget

    def samples(self, paths: Sequence[Path]) -> list[Embedded | None]:
        """Each picture at one size, as large as the budget holds; None for what it does not hold even smallest."""
        opened = [_opened(path) for path in paths]
        for side in SIDES:
            found = [None if picture is None else _embedded(picture, side) for picture in opened]
            if _size(found) <= self._left or side == SIDES[-1]:
                return [self._take(one) for one in found]
        return []

    def sheet(self, path: Path) -> Embedded | None:
        """A whole sheet of pictures; None where the budget does not hold it."""
        picture = _opened(path)
        if picture is None:
            return None
        tried = (_embedded(picture, width, by_width=True) for width in WIDTHS)
        most = min(self._left, SHEET)
        return self._take(next((found for found in tried if len(found.source) <= most), None))

    def _take(self, picture: Embedded | None) -> Embedded | None:
        if picture is None or len(picture.source) > self._left:
            return None
        self._left -= len(picture.source)
        return picture


def _size(pictures: Sequence[Embedded | None]) -> int:
    return sum(len(one.source) for one in pictures if one is not None)


def _opened(path: Path) -> Image.Image | None:
    """None for a file that is no picture, or one that is larger than any of ours."""
    try:
        with Image.open(path) as picture:
            return picture.convert("RGB")
    except (OSError, ValueError, Image.DecompressionBombError):
        return None


def _embedded(picture: Image.Image, side: int, *, by_width: bool = False) -> Embedded:
    longest = picture.width if by_width else max(picture.size)
    if longest > side:
        scale = side / longest
        size = (max(round(picture.width * scale), 1), max(round(picture.height * scale), 1))
        picture = picture.resize(size, Image.Resampling.LANCZOS)
    flat = by_width or max(picture.size) <= PIXELATED
    file = io.BytesIO()
    if flat and (picture.getcolors(4096) is not None or not by_width):
        picture.save(file, FORMAT, lossless=True, method=3)
    else:
        picture.save(file, FORMAT, quality=76, method=2)  # half the time of 3, for 3 % more bytes
    address = f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"
    return Embedded(address, picture.width, picture.height)
