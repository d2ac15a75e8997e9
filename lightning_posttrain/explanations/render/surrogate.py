"""The tree that imitates a model, and how much worse the model does without each feature."""

from __future__ import annotations

import math
from dataclasses import replace

from lightning_posttrain.core.drawing.canvas import (
    INK,
    PALE,
    TEXT,
    WIDTH,
    Canvas,
    Color,
    Pixels,
    shorten,
    width_of,
    wrapped,
)
from lightning_posttrain.core.drawing.number_format import KEYWORD, number, share, share_bar, tick
from lightning_posttrain.core.drawing.plot import GRID, class_colors
from lightning_posttrain.core.drawing.table_notes import sentences
from lightning_posttrain.core.output.artifacts import Image, Table
from lightning_posttrain.explanations.result.rule import Condition
from lightning_posttrain.explanations.result.surrogate import Branch, Drop, SurrogateReport
from lightning_posttrain.samples.render.sheet import (
    EDGE,
    ROOM,
    SMALL,
    empty,
    foot,
    heading_pixels,
    stacked,
    verdicts,
    whole,
)

INDENT, LINE, BAR = 34, 34, 120
NUMBERS = WIDTH - EDGE - 268
"""Where the bars of the leaves begin."""
TOP, MOST = 12, 64
"""Features, and lines of the tree, that are drawn at most."""
NAME, STEP = 218, 40
LEFT = EDGE + NAME + 10
READ_TREE = "Follow the lines that hold, down to THEN: what the model says."
READ_LEAVES = "Bars: how often it does say so, of the held-out rows there."
READ_DROPS = "How much worse the model is with a feature's values shuffled."
UNSURE: Color = (170, 174, 178)


def surrogate_image(report: SurrogateReport, *, title: str = "") -> Image:
    """Draw the tree line by line, how far it speaks for the model, and the permutation importance.

    A tree that should not be read is not drawn; the table has it.

    Args:
        report: what to draw.
        title: stands above, as ``"val"``.
    """
    heading = heading_pixels(f"{title} · the model as a small tree" if title else "the model as a small tree")
    pieces = [heading, *verdicts([*filter(None, [report.refused])]), _fidelity(report)]
    if not report.refused:
        pieces += [_said([READ_TREE, READ_LEAVES]), _tree(report)]
    if report.drops:
        pieces += [_said([READ_DROPS], ruled=True), _drops(report)]
    return stacked([*pieces, foot(_foot(report))])


def headline(report: SurrogateReport) -> str:
    """How far the tree speaks for the model, in a sentence."""
    count = {0: "A tree without questions", 1: "A tree of one question"}
    tree = count.get(report.questions, f"A tree of {report.questions} questions")
    ends = f"{share(report.fidelity_low)} to {share(report.fidelity_high)}"
    return (
        f"{tree} agrees with the model on {share(report.fidelity)} of {report.held_out_rows:,} held-out rows ({ends}); "
        f'always saying "{report.majority_class}" would on {share(report.majority)}.'
    )


def _fidelity(report: SurrogateReport) -> Pixels:
    lines = wrapped(headline(report), ROOM, TEXT, most=4)
    canvas = Canvas(30 * len(lines) + 44)
    canvas.lines(EDGE, 0, lines, 30)
    y = 30 * len(lines) + 14
    place = (EDGE, y, ROOM, 14)
    share_bar(canvas, place, report.fidelity_high, KEYWORD, sure=report.fidelity_low)
    tick(canvas, place, report.majority)
    return canvas.pixels()


def _said(texts: list[str], *, ruled: bool = False) -> Pixels:
    lines = [line for text in texts for line in whole(text, ROOM, SMALL)]
    canvas = Canvas(26 * len(lines) + 22)
    if ruled:
        canvas.box(EDGE, 4, ROOM, 1, GRID)
    canvas.lines(EDGE, 12, lines, 26, size=SMALL, color=PALE)
    return canvas.pixels()


def _tree(report: SurrogateReport) -> Pixels:
    number = {name: number for number, name in enumerate(report.class_names)}
    shown = [branch for branch in report.branches if branch.condition is not None or branch.leaf]
    canvas = Canvas(LINE * min(sum(map(_lines, shown)), MOST) + 8)
    y = 0
    for branch in shown:
        left = EDGE + INDENT * max(branch.depth - 1, 0)
        if branch.condition is not None:
            keyword = "ELSE" if branch.otherwise else "IF"
            canvas.text(left, y + LINE / 2, keyword, anchor="lm", color=KEYWORD)
            start = left + round(width_of(keyword)) + 12
            text = _fitting(branch.condition, WIDTH - EDGE - start)
            canvas.text(start, y + LINE / 2, text, anchor="lm", color=PALE if branch.otherwise else INK)
            y += LINE
        if branch.leaf:
            _leaf(
                canvas,
                branch,
                left + (INDENT if branch.condition else 0),
                y,
                class_colors([number[branch.predicted]])[0],
            )
            y += LINE
    return canvas.pixels()


def _fitting(condition: Condition, room: float) -> str:
    """A condition in so many pixels: of what is too long, the name is cut, and no number."""
    rest = width_of(str(replace(condition, name="")))
    return str(replace(condition, name=shorten(condition.name, room - rest)))


def _lines(branch: Branch) -> int:
    return (branch.condition is not None) + branch.leaf


def _leaf(canvas: Canvas, branch: Branch, left: int, top: int, color: Color) -> None:
    middle = top + LINE / 2
    canvas.text(left, middle, "THEN", anchor="lm", color=KEYWORD)
    left += round(width_of("THEN")) + 12
    canvas.box(left, middle - 8, 16, 16, color)
    canvas.text(left + 24, middle, shorten(branch.predicted, NUMBERS - left - 36), anchor="lm")
    share_bar(canvas, (NUMBERS, middle - 7, BAR, 14), branch.agreement, color)
    said = f"{share(branch.agreement)} of {branch.rows:,}" if branch.rows else "no rows"
    canvas.text(NUMBERS + BAR + 12, middle, said, size=SMALL, anchor="lm")


def _drops(report: SurrogateReport) -> Pixels:
    """A bar for the loss of each feature, with its interval as a line."""
    drops = [drop for drop in report.drops if math.isfinite(drop.loss)][:TOP]
    if not drops:
        return empty("no feature has a figure", 60, WIDTH)
    canvas = Canvas(34 + STEP * len(drops) + 12)
    low, high = min(0.0, *(drop.low for drop in drops)), max(1e-12, *(drop.high for drop in drops))
    room = WIDTH - LEFT - 188
    canvas.text(LEFT, 4, "rise of the log loss", size=18, color=PALE)
    canvas.text(WIDTH - EDGE, 4, "accuracy", size=18, anchor="ra", color=PALE)
    zero = LEFT - low / (high - low) * room
    for row, drop in enumerate(drops):
        y = 34 + STEP * row
        _drop(canvas, drop, y, zero=zero, scale=room / (high - low))
        canvas.text(LEFT + room + 14, y + STEP / 2, _signed(drop.loss), size=SMALL, anchor="lm")
    canvas.box(round(zero), 34, 1, STEP * len(drops), PALE)
    return canvas.pixels()


def _drop(canvas: Canvas, drop: Drop, top: int, *, zero: float, scale: float) -> None:
    middle = top + STEP / 2
    canvas.name(LEFT - 12, middle, drop.name, NAME, size=SMALL)
    start, end = sorted((zero, zero + drop.loss * scale))
    if round(end) > round(start):
        canvas.box(round(start), middle - 10, round(end) - round(start), 20, KEYWORD if drop.low > 0 else UNSURE)
    left, right = (round(zero + each * scale) for each in (drop.low, drop.high))
    canvas.box(left, middle - 1, max(right - left, 1), 3, INK)
    for x in (left, right):
        canvas.box(x - 1, middle - 6, 3, 13, INK)
    canvas.text(WIDTH - EDGE, middle, points(-drop.accuracy), size=SMALL, anchor="rm")


def _signed(value: float) -> str:
    return f"{'−' if value < 0 else '+' if value else ''}{number(abs(value), 2)}"


def points(change: float) -> str:
    """A change of a share in percentage points.

    Example:
        >>> points(-0.0824), points(0.0), points(float("nan"))
        ('−8.2 pt', '0.0 pt', '–')
    """
    if math.isnan(change):
        return "–"
    size = f"{100 * abs(change):.1f}"
    return f"{'' if size == '0.0' else '−' if change < 0 else '+'}{size} pt"


def _foot(report: SurrogateReport) -> list[str]:
    said = [f"{remark[0].upper()}{remark[1:]}." for remark in report.remarks]
    said.append("The upper bar: agreement, its pale end not certain; the black mark is what one class alone would get.")
    if report.refused:
        said.append("The tree itself is in the table.")
    elif sum(map(_lines, report.branches)) > MOST:
        said.append("The tree goes on in the table.")
    if report.drops:
        more = f" The table has all {len(report.drops)}." if len(report.drops) > TOP else ""
        said.append(
            f"Lines across the lower bars are 95 % intervals, from {report.drop_rows:,} rows; grey where one holds 0. "
            f"Features that go along with each other can stand in for one another.{more}"
        )
    return said


def tree_table(report: SurrogateReport) -> Table:
    """The tree, a line for each condition and each leaf, as it is read from top to bottom."""
    rows = tuple(
        (
            ("\u2003" * max(branch.depth - 1, 0)) + _words(branch), branch.predicted if branch.leaf else None,
            branch.rows, branch.agreement,
        )
        for branch in report.branches
    )  # fmt: skip
    note = sentences(headline(report), report.notes)
    return Table(("condition", "the model says", "held-out rows", "agreement"), rows, note=note)


def _words(branch: Branch) -> str:
    if branch.condition is None:
        return "all rows"
    return f"{'ELSE' if branch.otherwise else 'IF'} {branch.condition}"


def drops_table(report: SurrogateReport) -> Table:
    """The permutation importance of every feature, the largest first."""
    rows = tuple((drop.name, drop.loss, drop.low, drop.high, drop.accuracy) for drop in report.drops)
    note = f"{READ_DROPS} From {report.drop_rows:,} rows; the interval is of 95 %, the loss in nats."
    columns = ("feature", "rise of the log loss", "low", "high", "fall of the accuracy")
    return Table(columns, rows, note=note if rows else "The model was not asked.")
