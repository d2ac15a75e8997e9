"""Lines, dots and bars as SVG, whose colours come from the page's style, so that they follow light and dark."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lightning_posttrain.report.page.markup import Child, Markup, element
from lightning_posttrain.report.page.wording import figure

WIDTH, HEIGHT = 340, 210
LEFT, RIGHT, TOP, BOTTOM = 44, 22, 12, 38
Point = tuple[float, float]


@dataclass(frozen=True)
class Line:
    """A curve.

    Args:
        name: of what it shows.
        points: from left to right.
        look: a class of the style: ``"main"`` or ``"beside"``.
    """

    name: str
    points: Sequence[Point]
    look: str = "main"


@dataclass(frozen=True)
class Frame:
    """Axes of a plot.

    Args:
        x: first and last value.
        y: first and last value.
        width: of the whole, in pixels.
        height: of the whole, in pixels.
        step: between figures at the horizontal axis, at least; 1 for epochs.
    """

    x: tuple[float, float]
    y: tuple[float, float]
    width: int = WIDTH
    height: int = HEIGHT
    step: float = 0.0

    def at(self, x: float, y: float) -> Point:
        """Where a point stands."""
        across = (x - self.x[0]) / ((self.x[1] - self.x[0]) or 1)
        up = (y - self.y[0]) / ((self.y[1] - self.y[0]) or 1)
        inside = self.width - LEFT - RIGHT, self.height - TOP - BOTTOM
        return round(LEFT + across * inside[0], 1), round(TOP + (1 - up) * inside[1], 1)

    def drawn(self, said: str, label: str, *shapes: Child, tick: str = "g") -> Markup:
        """The plot as one picture.

        Args:
            said: a sentence for those who cannot see it.
            label: of the horizontal axis.
            *shapes: what it shows.
            tick: how figures at the axes are written: ``"g"``, or ``"%"`` for shares.
        """
        return element(
            "svg", self._grid(tick), shapes,
            element("text", label, x=self.width - RIGHT, y=self.height - 4, text_anchor="end", class_="label"),
            viewBox=f"0 0 {self.width} {self.height}", role="img", aria_label=said, class_="plot",
        )  # fmt: skip

    def _grid(self, tick: str) -> list[Markup]:
        rules = []
        for value in ticks(*self.y):
            (left, y), (right, _) = self.at(self.x[0], value), self.at(self.x[1], value)
            rules.append(element("line", x1=left, x2=right, y1=y, y2=y, class_="rule"))
            rules.append(element("text", _tick(value, tick), x=LEFT - 7, y=y + 3.5, text_anchor="end"))
        bottom = self.height - BOTTOM
        for value in ticks(*self.x, most=5, least=self.step):
            x, _ = self.at(value, self.y[0])
            rules.append(element("text", _tick(value, tick), x=x, y=bottom + 15, text_anchor="middle"))
        return rules


def lines(frame: Frame, curves: Sequence[Line]) -> list[Markup]:
    """Curves, each with a dot at its end."""
    shapes = []
    for curve in curves:
        places = [frame.at(x, y) for x, y in curve.points]
        path = " ".join(f"{x},{y}" for x, y in places)
        shapes.append(element("polyline", points=path, class_=f"line {curve.look}"))
        if places:
            x, y = places[-1]
            shapes.append(element("circle", cx=x, cy=y, r=2.8, class_=f"dot {curve.look}"))
    return shapes


def whisker_dots(frame: Frame, dots: Sequence[tuple[float, float, float, float, float]]) -> list[Markup]:
    """Dots with whiskers: across, up, lower end, upper end, and the share of the largest dot's area."""
    shapes = []
    for across, up, low, high, area in dots:
        (x, y), (_, bottom), (_, top) = frame.at(across, up), frame.at(across, low), frame.at(across, high)
        shapes.append(element("line", x1=x, x2=x, y1=bottom, y2=top, class_="whisker"))
        shapes.append(element("circle", cx=x, cy=y, r=round(max(1.6, 9 * math.sqrt(area)), 1), class_="dot main"))
    return shapes


def diagonal(frame: Frame) -> Markup:
    """Where what is promised comes true."""
    (x1, y1), (x2, y2) = frame.at(0, 0), frame.at(1, 1)
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, class_="diagonal")


def bar(share: float | None, low: float | None = None, high: float | None = None) -> Markup:
    """A share as a bar of a table, with its interval as a line."""
    width = 84.0
    ends = (low or 0.0, 0.0 if low is None else high or 0.0)
    shapes = (
        element("rect", x=0, y=5, width=width, height=4, rx=2, class_="track"),
        element("rect", x=0, y=5, width=round(width * (share or 0.0), 1), height=4, rx=2, class_="fill"),
        element("line", x1=round(width * ends[0], 1), x2=round(width * ends[1], 1), y1=7, y2=7, class_="ends"),
    )
    return element("svg", shapes, viewBox="0 0 84 14", width=84, height=14, class_="bar", aria_hidden="true")


def ticks(low: float, high: float, most: int = 4, least: float = 0.0) -> list[float]:
    """Round values from ``low`` to ``high``, about ``most`` of them, with ``least`` between two.

    Example:
        >>> ticks(0.0, 1.0), ticks(0, 12)
        ([0.0, 0.5, 1.0], [0.0, 5.0, 10.0])
    """
    span = high - low
    if not (math.isfinite(span) and span > 0):
        return [low]
    rough = max(span / most, least)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * by for by in (1, 2, 5, 10) if power * by >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(step * n, 12) for n in range(first, math.floor(high / step + 1e-9) + 1)]


def span(values: Sequence[float]) -> tuple[float, float]:
    """From the least to the largest value, with room at both ends."""
    low, high = min(values), max(values)
    room = 0.06 * (high - low) or abs(high) * 0.1 or 1.0
    return (max(low - room, 0.0) if low >= 0 else low - room), high + room


def _tick(value: float, form: str) -> str:
    if form == "%":
        return f"{100 * value:g} %"
    return f"{value:g}" if abs(value) < 1e4 else figure(value)
