"""A plot of lines on a canvas, smooth, with ticks that can be read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PILImage
from PIL import ImageDraw

from lightning_posttrain.core.drawing.canvas import INK, PALE, Canvas, Color

GRID: Color = (228, 230, 233)
Marks: TypeAlias = Sequence[tuple[float, str]]
Places = TypeVar("Places", float, NDArray[np.float64])
DOT = 2.5
"""By how much the radius of a dot is larger than the width of its line."""
FINE = 3
"""Lines are drawn this many times larger and made smaller, which makes them smooth."""
COLORS: tuple[Color, ...] = (
    (33, 113, 181), (230, 85, 13), (44, 140, 60), (200, 40, 50), (120, 80, 180),
    (140, 90, 70), (215, 100, 175), (110, 115, 120), (170, 160, 20), (20, 165, 185),
)  # fmt: skip


def class_colors(classes: Sequence[int]) -> list[Color]:
    """The colour of each of some classes, by their number: the same in every picture with few classes.

    Of two with the same, as there are more classes than colours, the later one has one that is free, if any is.

    Example:
        >>> class_colors([2, 0]) == [COLORS[2], COLORS[0]], len(set(class_colors([3, 13, 23])))
        (True, 3)
    """
    chosen: list[Color] = []
    for number in classes:
        own = COLORS[number % len(COLORS)]
        free = [color for color in COLORS if color not in chosen]
        chosen.append(own if own in free or not free else free[0])
    return chosen


@dataclass(frozen=True)
class Line:
    """A line through points, in the units of the axes; a break where one is NaN."""

    x: Sequence[float] | NDArray[np.float64]
    y: Sequence[float] | NDArray[np.float64]
    color: Color
    width: float = 2.0
    dots: bool = False


@dataclass(frozen=True)
class Axes:
    """A box of a canvas that stands for a range of numbers.

    Args:
        left, top, width, height: of the box, in pixels.
        x_range, y_range: what its sides stand for.
        whole: whether the first counts something, so that its ticks are whole numbers.
        x_marks, y_marks: places and texts of ticks, instead of round numbers.
    """

    left: int
    top: int
    width: int
    height: int
    x_range: tuple[float, float] = (0.0, 1.0)
    y_range: tuple[float, float] = (0.0, 1.0)
    whole: bool = False
    x_marks: Marks | None = None
    y_marks: Marks | None = None

    def place(self, x: Places, y: Places) -> tuple[Places, Places]:
        """Where a point lies, or each of many, from the box's upper left corner."""
        (x0, x1), (y0, y1) = self.x_range, self.y_range
        return (x - x0) / (x1 - x0) * self.width, (y1 - y) / (y1 - y0) * self.height

    def draw(self, canvas: Canvas, lines: Sequence[Line], *, x_label: str = "", y_label: str = "") -> None:
        """Draw grid, ticks, labels and lines; later lines lie above."""
        sheet = PILImage.new("RGB", (self.width * FINE, self.height * FINE), "white")
        brush = ImageDraw.Draw(sheet)
        for value, text in self._ticks(self.x_range, self.x_marks, least=1.0 if self.whole else 0.0):
            x, _ = self.place(value, self.y_range[0])
            brush.line([(x * FINE, 0), (x * FINE, self.height * FINE)], fill=GRID, width=FINE)
            canvas.text(self.left + x, self.top + self.height + 8, text, size=18, anchor="ma", color=PALE)
        for value, text in self._ticks(self.y_range, self.y_marks):
            _, y = self.place(self.x_range[0], value)
            brush.line([(0, y * FINE), (self.width * FINE, y * FINE)], fill=GRID, width=FINE)
            canvas.text(self.left - 8, self.top + y, text, size=18, anchor="rm", color=PALE)
        for line in lines:
            self._line(brush, line)
        smooth = sheet.resize((self.width, self.height), PILImage.Resampling.BOX)
        canvas.paste(self.left, self.top, np.asarray(smooth))
        canvas.text(self.left + self.width / 2, self.top + self.height + 32, x_label, size=20, anchor="ma", color=INK)
        canvas.text(self.left, self.top - 8, y_label, size=20, anchor="ls", color=INK)

    def _ticks(self, ends: tuple[float, float], marks: Marks | None, least: float = 0.0) -> Marks:
        return [(value, _short(value)) for value in ticks(*ends, least=least)] if marks is None else marks

    def _line(self, brush: ImageDraw.ImageDraw, line: Line) -> None:
        points = np.stack(self.place(np.asarray(line.x, np.float64), np.asarray(line.y, np.float64)), axis=1) * FINE
        breaks = np.flatnonzero(~np.isfinite(points).all(axis=1))
        for part in np.split(points, breaks):
            piece = [(a, b) for a, b in part.tolist() if math.isfinite(a) and math.isfinite(b)]
            if not piece:
                continue
            brush.line(piece, fill=line.color, width=round(line.width * FINE), joint="curve")
            radius = (line.width + DOT) * FINE if line.dots or len(piece) == 1 else 0
            for a, b in piece if radius else ():
                brush.ellipse((a - radius, b - radius, a + radius, b + radius), fill=line.color)


def ticks(low: float, high: float, *, most: int = 6, least: float = 0.0) -> list[float]:
    """Round numbers in a range, as 0, 0.2, 0.4, at least so far apart.

    Example:
        >>> ticks(0.0, 1.0)
        [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    """
    rough = max((high - low) / most, least)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(n * step, 12) for n in range(first, math.floor(high / step + 1e-9) + 1)]


def _short(value: float) -> str:
    return f"{value:g}"


def legend(
    canvas: Canvas, top: int, entries: Sequence[tuple[Color, str]], *, left: int = 20, size: int = 20, step: int = 28
) -> None:
    """A mark and a text for each entry, one below the other."""
    for number, (color, text) in enumerate(entries):
        y = top + number * step
        canvas.box(left, y + step // 2 - 3, 26, 5, color)
        canvas.text(left + 36, y + step / 2, text, size=size, anchor="lm")
