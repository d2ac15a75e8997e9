"""Runs beside each other: how good each is against what it costs."""

from __future__ import annotations

import math

from lightning_posttrain.core.drawing.canvas import WIDTH, Canvas, Color, width_of
from lightning_posttrain.core.drawing.plot import Axes, Line, Marks, class_colors, ticks
from lightning_posttrain.core.drawing.sheet import EDGE, HEAD, sheet
from lightning_posttrain.core.output.artifacts import Image
from lightning_posttrain.profile.compared.files import RunFigures
from lightning_posttrain.profile.compared.quantities import QUANTITIES, quantity
from lightning_posttrain.profile.compared.result import PLOTTED, Pareto

LEFT, GAP, HIGH, FOOT = 84, 66, 230, 74
FRONT: Color = (170, 175, 182)


def pareto_image(found: Pareto) -> Image:
    """Draw the metric of each run with its 95 % interval against each cost, and the front as steps.

    Args:
        found: costs are on a logarithmic axis; better is up, cheaper is left.
    """
    costs = [name for name in PLOTTED if name in found.costs]
    colors = class_colors(range(len(found.runs)))
    values = _value_range(found)
    high = (HIGH + FOOT) * math.ceil(len(costs) / 2)

    def draw(canvas: Canvas) -> None:
        half = (WIDTH - LEFT - EDGE - GAP) // 2
        for place, cost in enumerate(costs):
            left = LEFT + (place % 2) * (half + GAP)
            top = HEAD + 16 + (place // 2) * (HIGH + FOOT)
            _panel(canvas, found, cost, (left, top, half), values, colors)

    word, better = found.metric.replace("_", " "), "less" if found.falling else "more"
    runs = [(color, f"{run.name}: {run.value:.4f}") for color, run in zip(colors, found.runs, strict=True)]
    return sheet(
        f"{word} on {found.stage} against cost", f"{better} is better; bars: 95 % interval", high + 24, draw,
        entries=[*runs, (FRONT, "the front: none is as good for less")], note=" ".join(found.notes),
    )  # fmt: skip


def _panel(
    canvas: Canvas, found: Pareto, cost: str, place: tuple[int, int, int], values: tuple[float, float],
    colors: list[Color],
) -> None:  # fmt: skip
    left, top, wide = place
    ends = _cost_range([run.costs[cost] for run in found.runs])
    marks = _cost_marks(cost, ends, wide)
    shown_values = [(value, f"{value:.4g}" if left == LEFT else "") for value in ticks(*values, most=5)]
    axes = Axes(left, top, wide, HIGH, ends, values, x_marks=marks, y_marks=shown_values)
    lines = [_front(found, cost, ends[1])]
    for run, color in zip(found.runs, colors, strict=True):
        lines += _run(run, run.costs[cost], color, ends, values)
    axes.draw(canvas, lines, x_label=QUANTITIES[cost].axis)


def _run(
    run: RunFigures, cost: float, color: Color, ends: tuple[float, float], values: tuple[float, float]
) -> list[Line]:
    if not math.isfinite(cost):
        return []
    at, (low, high) = math.log10(cost), run.interval
    shown = [Line([at], [run.value], color, 5.0, dots=True)]
    if not math.isfinite(low):
        return shown
    cap, edges = 0.018 * (ends[1] - ends[0]), [max(low, values[0]), min(high, values[1])]
    caps = (Line([at - cap, at + cap], [end, end], color, 2.0) for end in edges)
    return [Line([at, at], edges, color, 2.0), *caps, *shown]


def _front(found: Pareto, cost: str, edge: float) -> Line:
    """Steps through the runs on the front, from the cheapest on."""
    by_name = {run.name: run for run in found.runs}
    x: list[float] = []
    y: list[float] = []
    for name in found.front(cost):
        at, value = math.log10(by_name[name].costs[cost]), by_name[name].value
        x += [at, at]
        y += [y[-1] if y else value, value]
    return Line([*x, edge], [*y, y[-1]], FRONT, 3.0) if x else Line([], [], FRONT)


def _value_range(found: Pareto) -> tuple[float, float]:
    sides = [side for run in found.runs for side in (run.value, *run.interval) if math.isfinite(side)]
    low, high = min(sides), max(sides)
    room = 0.08 * (high - low) or 0.05 * abs(high) or 1.0
    return low - room, high + room


def _cost_range(costs: list[float]) -> tuple[float, float]:
    """Powers of ten, with room on both sides."""
    known = [math.log10(cost) for cost in costs if math.isfinite(cost) and cost > 0]
    room = max(0.12 * (max(known) - min(known)), 0.1)
    return min(known) - room, max(known) + room


def _cost_marks(cost: str, ends: tuple[float, float], wide: int) -> Marks:
    """Round numbers on a logarithmic axis, as many as have room."""
    for steps in ((1, 2, 5), (1, 3), (1,)):
        powers = range(math.floor(ends[0]), math.ceil(ends[1]) + 1)
        values = [step * 10.0**power for power in powers for step in steps]
        marks = [(math.log10(v), quantity(cost, v)) for v in values if ends[0] <= math.log10(v) <= ends[1]]
        room = sum(width_of(text, 18) + 14 for _, text in marks)
        if room <= wide and len(marks) >= min(2, len(steps)):
            return marks
    return marks or [(sum(ends) / 2, quantity(cost, 10 ** (sum(ends) / 2)))]
