"""Parallel coordinates: each trial a line through its value and its parameters."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from lightning_posttrain.core.drawing.canvas import INK, PALE, WIDTH, Canvas, width_of
from lightning_posttrain.core.drawing.plot import Axes, Line, Marks, ticks
from lightning_posttrain.core.drawing.sheet import EDGE, HEAD, sheet
from lightning_posttrain.core.output.artifacts import Image
from lightning_posttrain.tuning.render.scale import (
    BEST,
    MANY,
    PRUNED,
    SMALL,
    TICK,
    Scale,
    Values,
    direction,
    faded,
    scales,
    short,
)

if TYPE_CHECKING:
    from lightning_posttrain.tuning.result import Study, Trial

STEP, NAMES = 76, 210
AXIS = (95, 99, 104)


def parallel_image(study: Study) -> Image:
    """Draw each trial with a value as a line: down from its value through its parameters, an axis for each.

    Good settings are where the strong lines run together.

    Args:
        study: a line has a gap where a trial lacks a parameter.
    """
    values, found = Values(study), scales(study)
    names = [study.monitor, *found]
    left = round(EDGE + min(NAMES, max(width_of(name, SMALL) for name in names)) + 14)
    wide = WIDTH - left - 34
    high = STEP * (len(names) - 1) + 56

    def draw(canvas: Canvas) -> None:
        axes = Axes(left, HEAD, wide, high, (0.0, 1.0), (high, 0.0), x_marks=(), y_marks=())
        axes.draw(canvas, _lines(values, found))
        marks = [_value_marks(values, wide), *(scale.marks(wide) for scale in found.values())]
        for number, (name, each) in enumerate(zip(names, marks, strict=True)):
            _axis(canvas, axes, HEAD + _down(number), name, each)
        if not values.shown:
            canvas.text(left + wide / 2, HEAD + _down(0) + STEP / 2, "no trial has a value yet", anchor="mm")

    return sheet(
        f"{study.name} · parameters of each trial", f"one line each; {study.monitor}: {direction(study)}",
        high + 12, draw,
        entries=_entries(values), note=values.edge_note,
    )  # fmt: skip


def _down(number: int) -> int:
    """Where an axis lies, from the top of the lines."""
    return 14 + STEP * number


def _lines(values: Values, found: dict[str, Scale]) -> list[Line]:
    """The best above, the worst and the pruned below."""
    place = {trial.number: number for number, trial in enumerate(values.study.ranked)}
    last = max(len(place) - 1, 1)
    thin = 1.6 if len(values.shown) <= MANY else 1.0
    pairs = sorted(values.shown, key=lambda pair: -place.get(pair[0].number, len(place)))
    heights = [_down(number) for number in range(len(found) + 1)]
    lines = []
    for trial, value in pairs:
        rank = place.get(trial.number)
        color = PRUNED if rank is None else BEST if rank == 0 else faded(rank / last)
        x = [_share(values, value), *(_place(scale, trial, name) for name, scale in found.items())]
        lines.append(Line(x, heights, color, 3.5 if rank == 0 else thin))
    return lines


def _place(scale: Scale, trial: Trial, name: str) -> float:
    return scale.place(trial.params[name], 0.0) if name in trial.params else math.nan


def _share(values: Values, value: float) -> float:
    low, high = values.range
    return (values.within(value) - low) / (high - low)


def _value_marks(values: Values, wide: int) -> Marks:
    if not values.shown:
        return []
    return [(_share(values, value), short(value)) for value in ticks(*values.range, most=max(2, wide // 90))]


def _axis(canvas: Canvas, axes: Axes, y: int, name: str, marks: Marks) -> None:
    canvas.box(axes.left, y, axes.width, 2, AXIS)
    canvas.name(axes.left - 14, y + 1, name, NAMES, size=SMALL, most=3)
    for place, text in marks:
        x = axes.left + place * axes.width
        canvas.box(x - 1, y - 4, 2, 10, AXIS)
        color = INK if y == axes.top + _down(0) else PALE
        canvas.text(x, y + 9, text, size=TICK, anchor="ma", color=color, halo=(255, 255, 255))


def _entries(values: Values) -> list[tuple[tuple[int, int, int], str]]:
    said = {"complete": "complete, the stronger the better"}
    drawn = [entry for entry in values.entries if not entry[1].endswith("no value")]
    return [(color, said.get(text, text)) for color, text in drawn]
