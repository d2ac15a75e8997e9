"""Values over the trials, and the best so far."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from lightning_posttrain.core.drawing.canvas import WIDTH, Canvas
from lightning_posttrain.core.drawing.plot import Axes, Line
from lightning_posttrain.core.drawing.sheet import HEAD, sheet
from lightning_posttrain.core.output.artifacts import Image
from lightning_posttrain.tuning.render.scale import BEST, FAILED, Values, direction

if TYPE_CHECKING:
    from lightning_posttrain.tuning.result import Study

HIGH, LEFT, RIGHT = 380, 84, 24


def history_image(study: Study) -> Image:
    """Draw the value of each trial, and the best so far as a line.

    Args:
        study: values far worse than the others lie at the edge; a red mark there is a trial that failed.
    """
    values = Values(study)

    def draw(canvas: Canvas) -> None:
        last = max((trial.number for trial in study.trials), default=0)
        ends = (-0.5 - 0.02 * last, last + 0.5 + 0.02 * last)
        marks = None if values.shown else ()
        axes = Axes(LEFT, HEAD + 4, WIDTH - LEFT - RIGHT, HIGH, ends, values.range, whole=True, y_marks=marks)
        axes.draw(canvas, _lines(values, axes), x_label="trial")
        if not values.shown:
            canvas.text(LEFT + axes.width / 2, HEAD + HIGH / 2, "no trial has a value yet", anchor="mm")

    return sheet(
        f"{study.name} · {study.monitor} over trials", direction(study), HIGH + 84, draw,
        entries=_entries(values), note=values.edge_note,
    )  # fmt: skip


def _entries(values: Values) -> list[tuple[tuple[int, int, int], str]]:
    return [(color, f"{text}; line: the best so far" if color == BEST else text) for color, text in values.entries]


def _lines(values: Values, axes: Axes) -> list[Line]:
    down = math.copysign(0.05 * (axes.y_range[1] - axes.y_range[0]), values.study.sign)
    edge = values.worse_edge
    failed = [Line([t.number, t.number], [edge, edge - down], FAILED, 2.5) for t in values.failed]
    dots = [
        Line([trial.number], [values.within(value)], values.color(trial), values.dot, dots=True)
        for trial, value in values.shown[:-1]
    ]
    best = [
        Line([trial.number], [values.within(value)], values.color(trial), 5.0, dots=True)
        for trial, value in values.shown[-1:]
    ]
    return [*failed, *dots, *_so_far(values), *best]


def _so_far(values: Values) -> list[Line]:
    """The best so far, in steps."""
    done = sorted((trial for trial in values.study.trials if trial.counts), key=lambda trial: trial.number)
    x: list[float] = []
    y: list[float] = []
    for trial in done:
        value = values.within(trial.value or 0.0)
        better = not y or values.study.sign * (y[-1] - value) > 0
        x += [trial.number, trial.number]
        y += [y[-1] if y else value, value if better else y[-1]]
    return [Line(x, y, BEST, 2.5)] if x else []
