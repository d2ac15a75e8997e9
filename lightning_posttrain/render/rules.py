"""Rules that hold a prediction in place, one for each sample."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from lightning_posttrain.artifacts import Image, Table
from lightning_posttrain.render.attribution import (
    EDGE,
    RIGHT,
    ROOM,
    SMALL,
    STRENGTH,
    WRONG,
    caption_text,
    empty,
    foot,
    heading_pixels,
    stacked,
    whole,
)
from lightning_posttrain.render.canvas import INK, PALE, TEXT, WIDTH, Canvas, Color, Pixels, shorten, wrapped
from lightning_posttrain.render.plot import GRID
from lightning_posttrain.render.shares import KEYWORD, paler, share, share_bar, tick
from lightning_posttrain.results import Rule, Sample

SHOWN = 12
"""Rules in a picture; the table has all."""
MARGIN = 24
WORDS, LINE = MARGIN + 88, 30
NAMES, BAR = 132, 190
STEP, THICK = 30, 16
WIDE = 0.2
"""A precision that is larger by so much among rows as they come than where other features are drawn anew."""
READ_OF_PARTS = "While the IF parts are there, the model almost always says THEN, whatever else is hidden."
READ = "Where all IF lines hold, the model almost always says THEN."
BARS = (
    "Precision: of the rows where all IF lines hold, the share for which the model says THEN; the dark part is sure. "
    "The black mark: that class's share of all rows."
)
BARS_OF_PARTS = (
    "Precision: of variants of the sample in which the parts of the rule are there and others are hidden at random, "
    "the share that gets the same class; the dark part is sure. The black mark: the same where any part may be hidden."
)
REDRAWN = "Redrawn: the same where the values of all other features come from other rows."
VARIANTS = "Variants: rows whose other values were drawn anew from other rows."
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
    pieces = [_block(sample, rule, class_names) for sample, rule in rules[:SHOWN]]
    of_parts = all(rule.of_parts for _, rule in rules)
    said = [BARS_OF_PARTS if of_parts else BARS]
    said += [REDRAWN] if any(rule.observed and rule.intervened is not None for _, rule in rules) else []
    said += [] if of_parts or all(rule.observed for _, rule in rules) else [VARIANTS]
    if len(rules) > SHOWN:
        said.append(f"{len(rules) - SHOWN} more rules are in the table.")
    return stacked([heading, _read(READ_OF_PARTS if of_parts else READ), *pieces, foot(said)])


def _read(text: str) -> Pixels:
    canvas = Canvas(34)
    canvas.text(EDGE, 2, shorten(text, ROOM, TEXT - 1), size=TEXT - 1, color=PALE)
    return canvas.pixels()


def _block(sample: Sample, rule: Rule, class_names: Sequence[str]) -> Pixels:
    return np.concatenate([_caption(sample), _rule(rule, class_names), _figures(rule), _remarks(rule)])


def _caption(sample: Sample) -> Pixels:
    text, color = caption_text(sample)
    canvas = Canvas(48)
    canvas.box(EDGE, 4, ROOM, 1, GRID)
    canvas.text(EDGE, 38, shorten(text, ROOM), anchor="ls", color=color)
    return canvas.pixels()


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
    of = "rows" if rule.observed else "variants"
    text = f"{share(rule.precision)} (at least {_floor(rule.lower)}) of {rule.rows:,} {of}"
    entries = [("precision", rule.precision, text)]
    if rule.intervened is not None and rule.observed:
        entries.append(("redrawn", rule.intervened, f"{share(rule.intervened)} with other features redrawn"))
    if not rule.of_parts:
        entries.append(("covers", rule.coverage, f"{share(rule.coverage)} of all rows"))
    canvas = Canvas(STEP * len(entries) + 6)
    for number, (name, value, text) in enumerate(entries):
        y = STEP * number + STEP / 2
        place = (NAMES, y - THICK / 2, BAR, THICK)
        canvas.text(MARGIN, y, name, size=SMALL, anchor="lm", color=PALE)
        share_bar(canvas, place, value, paler(KEYWORD, 0.3) if number else color, sure=None if number else rule.lower)
        if not number:
            tick(canvas, place, rule.base)
        canvas.text(NAMES + BAR + 14, y, shorten(text, WIDTH - NAMES - BAR - 22, SMALL), size=SMALL, anchor="lm")
    return canvas.pixels()


def _floor(bound: float) -> str:
    """A lower bound as a percentage that is not above it."""
    return f"{math.floor(100 * bound + 1e-9)}%"


def _remarks(rule: Rule) -> Pixels:
    said = [] if rule.valid else [(f"Not certain: only {_floor(rule.lower)} is sure. The best rule found.", WRONG)]
    if rule.intervened is not None and rule.observed and rule.precision - rule.intervened > WIDE:
        said.append((ALSO, INK))
    lines = [(line, color) for text, color in said for line in whole(text, WIDTH - MARGIN - EDGE, SMALL)]
    canvas = Canvas(26 * len(lines) + 10)
    for number, (line, color) in enumerate(lines):
        canvas.text(MARGIN, 26 * number, line, size=SMALL, color=color)
    return canvas.pixels()


def rules_table(rules: Pairs, class_names: Sequence[str]) -> Table:
    """Each rule in words, with its figures.

    Example:
        >>> rule = Rule((), 1, 0.9, 0.8, rows=20, coverage=1.0, base=0.9, valid=False, observed=True)
        >>> rules_table([(Sample(3, "dog", 2.0, "cat", "dog"), rule)], ["cat", "dog"]).rows
        ((3, 'cat', 'dog', 'IF anything THEN dog', 'no', 0.9, 0.8, 20, 1.0, 0.9, None),)
    """
    columns = ("index", "actual", "predicted", "rule", "certain", "precision", "at least", "rows", "covers", "base")
    cells = tuple(
        (
            sample.index, sample.actual, sample.predicted, f"IF {rule} THEN {class_names[rule.predicted]}",
            "yes" if rule.valid else "no", rule.precision, rule.lower, rule.rows, rule.coverage, rule.base,
            rule.intervened,
        )
        for sample, rule in rules
    )  # fmt: skip
    return Table((*columns, "redrawn"), cells, note=" ".join((READ, BARS, REDRAWN)) if rules else "No rule.")
