"""The value against each parameter."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from lightning_posttrain.core.drawing.canvas import INK, WIDTH, Canvas, name_lines
from lightning_posttrain.core.drawing.plot import Axes, Line, ticks
from lightning_posttrain.core.drawing.sheet import EDGE, HEAD, sheet
from lightning_posttrain.core.output.artifacts import Image
from lightning_posttrain.tuning.render.scale import FAILED, SMALL, Scale, Values, direction, scales

if TYPE_CHECKING:
    from lightning_posttrain.tuning.result import Study, Trial

LEFT, GAP, HIGH, WIDE_HIGH, STEP, FOOT = 78, 62, 190, 340, 24, 50
GOLDEN = 0.6180339887


def slices_image(study: Study) -> Image:
    """Draw the value of each trial against each parameter, on a logarithmic axis where the space has one.

    A parameter matters where the lower edge of the dots (of a figure whose less is better) has a slope or a valley.

    Args:
        study: dots of a choice lie side by side in its room; a red mark at the edge is a trial that failed.
    """
    values, panels = Values(study), _panels(scales(study))

    def draw(canvas: Canvas) -> None:
        for panel in panels:
            axes = Axes(
                panel.left, HEAD + panel.top, panel.wide, panel.high, (0.0, 1.0), values.range,
                x_marks=panel.scale.marks(panel.wide), y_marks=_y_marks(values, first=panel.left == LEFT),
            )  # fmt: skip
            axes.draw(canvas, _lines(values, panel.name, panel.scale))
            lines = panel.lines
            canvas.lines(panel.left, axes.top - 8 - STEP * len(lines), lines, STEP, size=SMALL, color=INK)
        if not panels:
            canvas.text(WIDTH / 2, HEAD + 40, "no trial has a parameter yet", anchor="mm")

    return sheet(
        f"{study.name} · {study.monitor} against each parameter",
        direction(study) if values.shown else "no trial has a value yet",
        panels[-1].top + panels[-1].high + FOOT if panels else 80, draw, entries=values.entries, note=values.edge_note,
    )  # fmt: skip


class _Panel(NamedTuple):
    name: str
    scale: Scale
    left: int
    top: int
    wide: int
    high: int

    @property
    def lines(self) -> list[str]:
        """The name in lines."""
        return name_lines(self.name, self.wide, SMALL)


def _panels(found: dict[str, Scale]) -> list[_Panel]:
    """Two in a row, then those whose choices need all of it."""
    half = (WIDTH - LEFT - EDGE - GAP) // 2
    narrow = [] if len(found) == 1 else [name for name, scale in found.items() if scale.fits(half)]
    rows = [narrow[start : start + 2] for start in range(0, len(narrow), 2)]
    rows += [[name] for name in found if name not in narrow]
    panels: list[_Panel] = []
    top = 0
    for row in rows:
        wide = half if row[0] in narrow else WIDTH - LEFT - EDGE
        high = WIDE_HIGH if len(found) == 1 else HIGH
        top += STEP * max(len(name_lines(name, wide, SMALL)) for name in row) + 8
        panels += [
            _Panel(name, found[name], LEFT + place * (half + GAP), top, wide, high) for place, name in enumerate(row)
        ]
        top += high + FOOT
    return panels


def _y_marks(values: Values, *, first: bool) -> list[tuple[float, str]]:
    """The grid, with numbers at the panels of the first column."""
    if not values.shown:
        return []
    return [(value, f"{value:g}" if first else "") for value in ticks(*values.range)]


def _lines(values: Values, name: str, scale: Scale) -> list[Line]:
    low, high = values.range
    edge = values.worse_edge
    down = math.copysign(0.07 * (high - low), values.study.sign)
    marks = [
        Line([at, at], [edge, edge - down], FAILED, 2.0)
        for at in (_place(scale, trial, name) for trial in values.failed if name in trial.params)
    ]
    last = values.shown[-1:]
    return [
        *marks,
        *(
            Line(
                [_place(scale, trial, name)], [values.within(value)], values.color(trial),
                4.5 if [(trial, value)] == last and trial.counts else values.dot, dots=True,
            )
            for trial, value in values.shown
            if name in trial.params
        ),
    ]  # fmt: skip


def _place(scale: Scale, trial: Trial, name: str) -> float:
    """Where a trial lies; those of one choice side by side, in an order of their own."""
    return scale.place(trial.params[name], 0.6 * (trial.number * GOLDEN % 1 - 0.5))
