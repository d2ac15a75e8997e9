"""Strategies beside the best member alone: a picture with intervals, and a table."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from lightning_posttrain.core.drawing.canvas import INK, PALE, WIDTH, Canvas, Color, shorten, wrapped
from lightning_posttrain.core.drawing.number_format import number
from lightning_posttrain.core.drawing.plot import ticks
from lightning_posttrain.core.drawing.table_notes import sentences
from lightning_posttrain.core.output.artifacts import Cell, Image, Table, Tagged
from lightning_posttrain.ensembles.render.members import members_image, members_table
from lightning_posttrain.ensembles.result import Difference, EnsembleReport, StrategyReport

TOP, STEP, SMALL = 104, 46, 20
LEFT, ROOM = 286, 232
LOSS, ACCURACY = 608, WIDTH - 12
BETTER: Color = (33, 113, 181)
WORSE: Color = (203, 84, 30)
UNSURE: Color = (160, 164, 170)
CHOSEN: Color = (232, 240, 250)


def ensemble_artifacts(report: EnsembleReport, *, tag: str, title: str) -> Iterator[Tagged]:
    """The strategies, and what tells the members apart, under tags that begin with ``tag``."""
    yield Tagged(f"{tag}/strategies", strategies_image(report, title))
    yield Tagged(f"{tag}/strategies_table", strategies_table(report))
    yield Tagged(f"{tag}/figures", figures_table(report))
    yield Tagged(f"{tag}/members_table", members_table(report))
    if len(report.members) > 1 and report.diversity is not None:
        yield Tagged(f"{tag}/members", members_image(report, title))


def strategies_image(report: EnsembleReport, title: str = "") -> Image:
    """Draw the log loss of each strategy, less that of the best member alone, with its 95 % interval.

    Left of the line is better; blue where the interval is, too, orange where it is on the other side.

    Args:
        report: what to draw.
        title: stands above, as ``"test"``.
    """
    strategies = report.strategies
    said = [line for note in report.notes for line in wrapped(sentences("", [note]).strip(), WIDTH - 24, SMALL, most=4)]
    foot = TOP + STEP * len(strategies) + 62
    canvas = Canvas(foot + 27 * len(said) + 10)
    members = sum(member.kind != "soup" for member in report.members)
    number = f"{members} member{'s' if members != 1 else ''}"
    canvas.text(12, 10, shorten(f"{title} · ensemble of {number}", WIDTH - 24))
    canvas.text(LEFT, 50, "log loss, less that of the best alone", size=18, color=PALE)
    canvas.text(LOSS, 74, "log loss", size=18, anchor="ra", color=PALE)
    canvas.text(ACCURACY, 74, "right", size=18, anchor="ra", color=PALE)
    ends = _range([each.loss for each in strategies])
    for row, strategy in enumerate(strategies):
        _draw(canvas, strategy, TOP + STEP * row, ends, chosen=report.kept and strategy.name == report.chosen)
    _axis(canvas, TOP + STEP * len(strategies), ends, top=TOP)
    for place, line in enumerate(said):
        canvas.text(12, foot + 27 * place, line, size=SMALL)
    return canvas.image()


def _range(differences: Sequence[Difference]) -> tuple[float, float]:
    """Ends of the axis. What is much further off than the others, as a spoilt soup, is beyond it."""
    finite = [each for each in differences if math.isfinite(each.value)]
    values = sorted(abs(each.value) for each in finite)
    usual = 6 * max(values[len(values) // 2], 1e-4) if values else 1.0
    found = [each for each in finite if each.value <= usual]
    low = min([0.0, *(max(each.low if math.isfinite(each.low) else each.value, -usual) for each in found)])
    high = max([0.0, *(min(each.high if math.isfinite(each.high) else each.value, usual) for each in found)])
    spare = 0.06 * (high - low) or 0.01
    return low - spare, high + spare


def _place(value: float, ends: tuple[float, float]) -> int:
    low, high = ends
    return LEFT + round(min(max((value - low) / (high - low), 0.0), 1.0) * ROOM)


def _draw(canvas: Canvas, strategy: StrategyReport, top: int, ends: tuple[float, float], *, chosen: bool) -> None:
    middle, apart = top + STEP // 2, strategy.loss
    if chosen:
        canvas.box(6, top + 2, WIDTH - 12, STEP - 4, CHOSEN)
    canvas.name(LEFT - 16, middle, strategy.title, LEFT - 28, size=SMALL)
    _interval(canvas, apart, middle, ends)
    canvas.text(LOSS, middle, f"{strategy.log_loss:.4f}", size=SMALL, anchor="rm")
    canvas.text(ACCURACY, middle, f"{strategy.accuracy:.1%}", size=SMALL, anchor="rm")


def _interval(canvas: Canvas, apart: Difference, middle: int, ends: tuple[float, float]) -> None:
    """A difference with its interval; one beyond the axis as a number."""
    color = (UNSURE, WORSE, BETTER)[apart.sign]
    if apart.value > ends[1]:
        zero = _place(0.0, ends) - 8  # left of the line where there is no room beside it
        right = zero if zero > LEFT + ROOM - 80 else LEFT + ROOM
        canvas.text(right, middle, f"+{apart.value:.3g} »", size=18, anchor="rm", color=color)
        return
    if math.isfinite(apart.low):
        left, right = _place(apart.low, ends), _place(apart.high, ends)
        canvas.box(left, middle - 1, max(right - left, 1), 3, color)
        for x in (left, right):
            canvas.box(x - 1, middle - 6, 3, 13, color)
    if math.isfinite(apart.value):
        canvas.box(_place(apart.value, ends) - 5, middle - 5, 11, 11, color)


def _axis(canvas: Canvas, foot: int, ends: tuple[float, float], *, top: int) -> None:
    zero = _place(0.0, ends)
    canvas.box(zero, top, 1, foot - top, INK)
    canvas.box(LEFT, foot, ROOM, 1, PALE)
    for value in ticks(*ends, most=3):
        x = _place(value, ends)
        canvas.box(x, foot, 1, 6, PALE)
        canvas.text(x, foot + 9, number(value, 2).replace("-", "−"), size=18, anchor="ma", color=PALE)


COLUMNS = (
    "strategy", "log loss", "log loss difference", "low", "high", "accuracy", "accuracy difference", "accuracy low",
    "accuracy high", "Brier", "ECE", "log loss on validation", "members", "parameters", "what it does",
)  # fmt: skip


def strategies_table(report: EnsembleReport) -> Table:
    """The strategies in the words of the report, in as many columns as a logger has room for."""
    columns = ("strategy", "log loss", "to the best alone", "right", "members", "what it does")
    rows = tuple(
        (each.title, _cell(each.log_loss), _written(each.loss), f"{each.accuracy:.1%}", each.members, each.words)
        for each in report.strategies
    )
    return Table(columns, rows, note=sentences("", report.notes).strip())


def _written(apart: Difference) -> str:
    if not math.isfinite(apart.low):
        return "" if math.isnan(apart.value) else f"{apart.value:+.4f}"
    return f"{apart.value:+.4f} ({apart.low:+.4f} to {apart.high:+.4f})"


def figures_table(report: EnsembleReport) -> Table:
    """All figures of all strategies, for programs; differences are to the best member alone, on the same samples."""
    rows = tuple(
        (
            each.title, *map(_cell, (each.log_loss, *each.loss, each.accuracy, *each.hits, each.brier, each.ece)),
            _cell(each.validation), each.members, each.parameters, each.words,
        )
        for each in report.strategies
    )  # fmt: skip
    return Table(COLUMNS, rows, note=sentences("", report.notes).strip(), files_only=True)


def _cell(value: float) -> Cell:
    return None if math.isnan(value) else value
