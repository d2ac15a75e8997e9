"""Training at a glance: the curves that one looks at first, on one picture that fills a card of TensorBoard."""

from __future__ import annotations

import math
from collections.abc import Sequence

from lightning_posttrain.core.drawing.canvas import PALE, WIDE, Canvas, shorten, width_of
from lightning_posttrain.core.drawing.plot import COLORS, Axes, Line
from lightning_posttrain.core.output.artifacts import Image
from lightning_posttrain.report.curves import Curve, Points, spread

TRAIN, VAL = COLORS[0], COLORS[1]
HEAD = 48


def glance_image(curves: Sequence[Curve], *, title: str = "training at a glance") -> Image:
    """A panel for each curve, training and validation in the same; a large dot where validation was best.

    Args:
        curves: one or more.
        title: stands above.
    """
    width, height = WIDE
    across = 1 if len(curves) == 1 else 2 if len(curves) < 5 else 3
    down = math.ceil(len(curves) / across)
    canvas = Canvas(height, width)
    canvas.text(16, 12, shorten(title, width - 400))
    _legend(canvas, curves, width - 16)
    ends = spread(curves)
    for number, curve in enumerate(curves):
        row, column = divmod(number, across)
        room = (width / across, (height - HEAD) / down)
        _panel(canvas, curve, ends, (round(column * room[0]), round(HEAD + row * room[1])), room)
    return canvas.image()


def _legend(canvas: Canvas, curves: Sequence[Curve], right: float) -> None:
    sides = [("training", TRAIN)] * any(curve.train for curve in curves)
    sides += [("validation", VAL)] * any(curve.val for curve in curves)
    for place, (text, color) in enumerate(reversed(sides)):
        left = right - 150 * (place + 1)
        canvas.box(left, 25, 26, 6, color)
        canvas.text(left + 34, 14, text, size=20)


def _panel(
    canvas: Canvas, curve: Curve, ends: tuple[float, float], corner: tuple[int, int], room: tuple[float, float]
) -> None:
    values = [value for _, value in (*curve.train, *curve.val)]
    low, high = min(values), max(values)
    air = 0.06 * (high - low) or 0.05 * abs(high) or 0.05
    aside = 0.05 * (ends[1] - ends[0]) or 0.5
    sides, box = (ends[0] - aside, ends[1] + aside), (round(room[0] - 110), round(room[1] - 112))
    axes = Axes(corner[0] + 86, corner[1] + 44, *box, sides, (low - air, high + air), whole=True)
    dots = max(len(curve.train), len(curve.val)) <= 30
    lines = [_line(curve.train, TRAIN, dots=dots), _line(curve.val, VAL, dots=dots)]
    best = best_of(curve)
    if best is not None:
        lines.append(Line([best[0]], [best[1]], VAL, 8.0, dots=True))
    axes.draw(canvas, lines, x_label="epoch")
    name = shorten(curve.name.replace("_", " "), box[0], 20)
    canvas.text(corner[0] + 86, corner[1] + 36, name, size=20, anchor="ls")
    said = "" if best is None else f"best {best[1]:.4g}"
    if width_of(name, 20) + width_of(said, 18) + 16 < box[0]:
        canvas.text(corner[0] + 86 + box[0], corner[1] + 36, said, size=18, anchor="rs", color=PALE)


def _line(points: Points, color: tuple[int, int, int], *, dots: bool) -> Line:
    return Line([epoch for epoch, _ in points], [value for _, value in points], color, 3.0, dots=dots)


def best_of(curve: Curve) -> tuple[float, float] | None:
    """Epoch and value where validation was best: the least of losses and errors, else the most; None without one.

    Example:
        >>> best_of(Curve("loss", (), ((1.0, 0.5), (2.0, 0.4), (3.0, 0.6))))
        (2.0, 0.4)
    """
    if not curve.val:
        return None
    least = any(part in curve.name for part in ("loss", "error", "ece", "brier", "perplexity"))
    return (min if least else max)(curve.val, key=lambda point: point[1])
