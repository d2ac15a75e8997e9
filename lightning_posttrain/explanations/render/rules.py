"""Rules that hold a prediction in place, one for each sample."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from lightning_posttrain.core.drawing.attribution_colors import STRENGTH
from lightning_posttrain.core.drawing.canvas import INK, PALE, TEXT, WIDTH, Canvas, Color, Pixels, shorten, wrapped
from lightning_posttrain.core.drawing.number_format import KEYWORD, paler, share, share_bar, tick
from lightning_posttrain.core.drawing.plot import GRID
from lightning_posttrain.core.output.artifacts import Image
from lightning_posttrain.explanations.result.rule import Rule
from lightning_posttrain.samples.render.captions import headline
from lightning_posttrain.samples.render.sheet import (
    EDGE,
    FINE_PRINT,
    RIGHT,
    ROOM,
    SMALL,
    WRONG,
    empty,
    foot,
    heading_pixels,
    stacked,
    whole,
)
from lightning_posttrain.samples.result import Sample

SHOWN, MOST_TRIED = 12, 4
"""Rules in a picture, and lines on one that says nothing; the table has all."""
MARGIN = 24
WORDS, LINE = MARGIN + 88, 30
NAMES, BAR = 132, 190
STEP, THICK = 30, 16
WIDE = 0.2
"""A precision that is larger by so much among rows as they come than where other features are drawn anew."""
HOLDS = "where all IF lines hold, the model almost always says THEN."
HOLDS_OF_PARTS = "while all IF parts are there, the model almost always says THEN, whatever else is hidden."
OFTEN = "where all IF lines hold, the model often says THEN, but not as surely as is wanted."
OFTEN_OF_PARTS = "while all IF parts are there, the model often says THEN, but not as surely as is wanted."
NOT_SURE = "Orange: not sure enough."
NOTHING = "no rule found"
BARS = (
    "Precision: of the rows where all IF lines hold, the share for which the model says THEN; the dark part is sure, "
    "as judged by rows that were not used to find the rule. The black mark: that class's share of all rows."
)
BARS_OF_PARTS = (
    "Precision: of copies of the sample in which the IF parts are there and others are hidden at random, the share "
    "that gets THEN; the dark part is sure. The black mark: the same where any part may be hidden."
)
REDRAWN = "Redrawn: the same where the values of all other features come from other rows."
VARIANTS = "Variants: rows whose other values were drawn anew from other rows."
OUTLINES = "The picture of the explanations has an outline around these parts, and their numbers."
OUTLINED = ("part ", "row ", "band ")
ALSO = "The model also uses other features that go along with these."

Pairs = Sequence[tuple[Sample, Rule]]


def rules_image(rules: Pairs, class_names: Sequence[str], *, title: str = "") -> Image:
    """Draw the rule of each sample: its conditions, what follows, and how far it can be trusted.

    Args:
        rules: samples and their rules; the first twelve are drawn.
        class_names: that ``Rule.predicted`` counts.
        title: stands above, as ``"val"``.
    """
    heading = heading_pixels(f"{title} · rules" if title else "rules")
    if not rules:
        return stacked([heading, empty("no rule was worked out", 60, WIDTH)])
    shown = rules[:SHOWN]
    pieces = [_block(sample, rule, class_names) for sample, rule in shown]
    return stacked([heading, _read([rule for _, rule in shown]), *pieces, foot(_said([rule for _, rule in rules]))])


def _read(rules: Sequence[Rule]) -> Pixels:
    """How to read rules, of those colours that there are."""
    of_parts = all(rule.of_parts for rule in rules)
    holds, often = (HOLDS_OF_PARTS, OFTEN_OF_PARTS) if of_parts else (HOLDS, OFTEN)
    green = any(rule.valid for rule in rules)
    said = [f"Green: {holds}"] if green else []
    if any(rule.found and not rule.valid for rule in rules):
        said.append(NOT_SURE if green else f"Orange: {often}")
    if not all(rule.found for rule in rules):
        said.append(f"Grey: {NOTHING}.")
    lines = whole(" ".join(said), ROOM, TEXT - 1)
    canvas = Canvas(28 * len(lines) + 6)
    canvas.lines(EDGE, 2, lines, 28, size=TEXT - 1, color=PALE)
    return canvas.pixels()


def _said(rules: Sequence[Rule]) -> list[str]:
    """What stands below rules."""
    of_parts = all(rule.of_parts for rule in rules)
    said = [BARS_OF_PARTS if of_parts else BARS]
    wanted = sorted({rule.wanted for rule in rules if rule.wanted is not None})
    if wanted:
        said.append(f"The triangle: the wanted precision, {' or '.join(f'{100 * each:.4g}%' for each in wanted)}.")
    said += [REDRAWN] if any(_is_redrawn(rule) for rule in rules) else []
    said += [] if of_parts or all(rule.observed for rule in rules) else [VARIANTS]
    said += [OUTLINES] if any(map(_is_outlined, rules)) else []
    if len(rules) > SHOWN:
        said.append(f"{len(rules) - SHOWN} more rules are in the table.")
    return said


def _is_outlined(rule: Rule) -> bool:
    return rule.of_parts and rule.found and any(condition.name.startswith(OUTLINED) for condition in rule.conditions)


def _is_redrawn(rule: Rule) -> bool:
    return rule.observed and rule.intervened is not None and rule.found


def _block(sample: Sample, rule: Rule, class_names: Sequence[str]) -> Pixels:
    if not rule.found:
        return np.concatenate([_caption(sample), _nothing(rule, class_names)])
    return np.concatenate([_caption(sample), _rule(rule, class_names), _figures(rule), _remarks(rule)])


def _caption(sample: Sample) -> Pixels:
    lines, color = headline(sample)
    canvas = Canvas(18 + 30 * len(lines))
    canvas.box(EDGE, 4, ROOM, 1, GRID)
    canvas.lines(EDGE, 38, lines, 30, anchor="ls", color=color)
    return canvas.pixels()


def _nothing(rule: Rule, class_names: Sequence[str]) -> Pixels:
    """That there is no rule, and why, or the best one that was tried."""
    name = class_names[rule.predicted]
    said = reason(rule, name) or f"The best try: IF {rule} THEN {name}: {precision(rule, 'at least')}."
    lines = whole(f"{said[0].upper()}{said[1:]}", WIDTH - MARGIN - EDGE, FINE_PRINT)[:MOST_TRIED]
    canvas = Canvas(LINE + 23 * len(lines) + 10)
    canvas.text(MARGIN, 0, NOTHING, color=PALE)
    canvas.lines(MARGIN, LINE, lines, 23, size=FINE_PRINT, color=PALE)
    return canvas.pixels()


def reason(rule: Rule, name: str) -> str:
    """Why there is no rule for a class, where the rows leave no room for one; else nothing.

    Example:
        >>> from lightning_posttrain.explanations.result.rule import Condition
        >>> kind = Condition(0, "kind", equal=7)
        >>> reason(Rule((kind,), 1, math.nan, 0.0, rows=0, coverage=0.0, base=0.2, valid=False, observed=True), "cat")
        'no row has kind = 7, so nothing can be said of it.'
    """
    if rule.unseen:
        return f"no row has {' or '.join(map(str, rule.conditions))}, so nothing can be said of it."
    if not rule.observed:
        return ""
    if rule.different == 1 and rule.coverage == 1:
        gets = f"{share(rule.base)} of them get {name}"
        return f"all {rule.rows:,} rows are equal, so no rule tells one from another; {gets}."
    return f"no row gets {name}." if rule.base == 0 else ""


def _rule(rule: Rule, class_names: Sequence[str]) -> Pixels:
    lines = list(_lines(rule, class_names[rule.predicted]))
    canvas = Canvas(LINE * len(lines) + 6)
    for number, (keyword, text, color) in enumerate(lines):
        canvas.text(MARGIN, LINE * number, keyword, color=KEYWORD)
        canvas.text(WORDS, LINE * number, text, color=color)
    return canvas.pixels()


def _lines(rule: Rule, name: str) -> Iterator[tuple[str, str, Color]]:
    """Keyword, text and colour of each line; a long condition goes on in a second."""
    conditions = [str(condition) for condition in rule.conditions] or ["anything at all"]
    for number, condition in enumerate(conditions):
        for part, text in enumerate(wrapped(condition, WIDTH - WORDS - EDGE, TEXT, most=2)):
            yield ("" if part else "AND" if number else "IF"), text, INK
    for part, text in enumerate(wrapped(name, WIDTH - WORDS - EDGE, TEXT, most=2)):
        yield ("" if part else "THEN"), text, INK


def _figures(rule: Rule) -> Pixels:
    color = RIGHT if rule.valid else STRENGTH
    entries = [("precision", rule.precision, precision(rule, "at least"))]
    if rule.intervened is not None and rule.observed:
        entries.append(("redrawn", rule.intervened, f"{share(rule.intervened)} with other features redrawn"))
    if not rule.of_parts:
        entries.append(("covers", rule.coverage, f"{share(rule.coverage)} of all rows"))
    above = 0 if rule.wanted is None else 8
    canvas = Canvas(STEP * len(entries) + 6 + above)
    for number, (name, value, text) in enumerate(entries):
        y = above + STEP * number + STEP / 2
        place = (NAMES, y - THICK / 2, BAR, THICK)
        canvas.text(MARGIN, y, name, size=SMALL, anchor="lm", color=PALE)
        share_bar(canvas, place, value, paler(KEYWORD, 0.3) if number else color, sure=None if number else rule.lower)
        if not number:
            tick(canvas, place, rule.base)
            _triangle(canvas, place, rule.wanted)
        canvas.text(NAMES + BAR + 14, y, shorten(text, WIDTH - NAMES - BAR - 22, SMALL), size=SMALL, anchor="lm")
    return canvas.pixels()


def _triangle(canvas: Canvas, place: tuple[int, float, int, int], value: float | None) -> None:
    """A mark above a bar that points at a value."""
    left, top, width, _ = place
    if value is not None:
        for up in range(8):
            canvas.box(left + round(value * (width - 1)) - up, top - 3 - up, 2 * up + 1, 1, INK)


def precision(rule: Rule, least: str) -> str:
    """The precision in words, with its lower bound.

    Example:
        >>> precision(Rule((), 1, 0.984, 0.929, rows=20, coverage=0.1, base=0.9, valid=True, observed=True), "≥")
        '98% (≥ 92%) of 20 rows'
    """
    of = "copies" if rule.of_parts else "rows" if rule.observed else "variants"
    return f"{share(rule.precision)} ({least} {_floor(rule.lower)}) of {rule.rows:,} {of}"


def _floor(bound: float) -> str:
    """A lower bound as a percentage that is not above it."""
    return f"{math.floor(100 * bound + 1e-9)}%"


def _remarks(rule: Rule) -> Pixels:
    said = [] if rule.valid else [(f"Not certain: only {_floor(rule.lower)} is sure. The best rule found.", WRONG)]
    if rule.observed and rule.draws is not None and rule.draws < rule.rows / 2 and rule.different != rule.rows:
        said.append((f"Many of these rows are equal: what is sure rests on about {rule.draws:,.0f}.", INK))
    if rule.intervened is not None and rule.observed and rule.precision - rule.intervened > WIDE:
        said.append((ALSO, INK))
    lines = [(line, color) for text, color in said for line in whole(text, WIDTH - MARGIN - EDGE, SMALL)]
    canvas = Canvas(26 * len(lines) + 10)
    for number, (line, color) in enumerate(lines):
        canvas.text(MARGIN, 26 * number, line, size=SMALL, color=color)
    return canvas.pixels()
