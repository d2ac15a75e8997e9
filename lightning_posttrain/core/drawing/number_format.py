"""Numbers and shares as text, and shares as bars."""

from __future__ import annotations

import math

from lightning_posttrain.core.drawing.attribution_colors import EMPTY
from lightning_posttrain.core.drawing.canvas import INK, Canvas, Color

KEYWORD: Color = (33, 113, 181)
"""Of IF, AND, THEN and ELSE."""


def number(value: float, digits: int = 3) -> str:
    """A number in so many significant digits.

    Example:
        >>> number(0.031234), number(2019.0), number(0.000123)
        ('0.0312', '2019', '1.23e-4')
    """
    text = f"{value:.0f}" if 100 <= abs(value) < 1e6 else f"{value:.{digits}g}"
    if 0 < abs(value) < 0.001:
        text = f"{value:.{digits - 1}e}"
    return text.replace("e-0", "e-").replace("e+0", "e").replace("e+", "e")


def share(value: float) -> str:
    """A share as a whole percentage, with no 0 % and no 100 % where it is neither.

    Example:
        >>> share(0.984), share(0.998), share(0.002), share(1.0), share(float("nan"))
        ('98%', '>99%', '<1%', '100%', '–')
    """
    if math.isnan(value):
        return "–"
    if 0.995 <= value < 1:
        return ">99%"
    return "<1%" if 0 < value < 0.005 else f"{value:.0%}"


def paler(color: Color, part: float = 0.55) -> Color:
    """``color`` on its way to white."""
    red, green, blue = (round(each + (255 - each) * part) for each in color)
    return red, green, blue


def share_bar(
    canvas: Canvas, place: tuple[int, float, int, int], value: float, color: Color, *, sure: float | None = None
) -> None:
    """A bar of 0 to 1 at ``place``, left, top, width and height; beyond what is ``sure`` it is pale."""
    left, top, width, height = place
    canvas.box(left, top, width, height, EMPTY)
    for end, shade in ((value, color if sure is None else paler(color)), (sure, color)):
        length = 0 if end is None or math.isnan(end) else round(min(max(end, 0.0), 1.0) * width)
        if length:
            canvas.box(left, top, length, height, shade)


def tick(canvas: Canvas, place: tuple[int, float, int, int], value: float) -> None:
    """A mark on a bar, as of a share to compare with."""
    left, top, width, height = place
    if not math.isnan(value):
        canvas.box(left + round(value * (width - 3)), top - 4, 3, height + 8, INK)
