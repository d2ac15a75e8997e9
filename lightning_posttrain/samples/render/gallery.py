"""Samples with a few words below each, so many in a line."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from lightning_posttrain.core.drawing.canvas import (
    INK,
    PALE,
    Canvas,
    Color,
    Pixels,
    name_lines,
    one_line,
    shorten,
    width_of,
)
from lightning_posttrain.core.drawing.names import in_lines, told_apart
from lightning_posttrain.core.drawing.number_format import number
from lightning_posttrain.samples.render.captions import percent
from lightning_posttrain.samples.render.sheet import EDGE, RIGHT, ROOM, WRONG

GAP = 12
FINE_LINE = 24
FIGURES = 18
ARROW = "→"


class Form(NamedTuple):
    """Size of letters, and lines of a name at most."""

    size: int
    most: int


FORMS = (Form(22, 1), Form(18, 1), Form(18, 2), Form(16, 2))
"""In which names of classes are written, the first in which all fit."""


class Captioned(Protocol):
    """A sample with what stands below it."""

    @property
    def index(self) -> int | None:
        """Position in the dataset, or None where not known."""

    @property
    def actual(self) -> str:
        """Its class; of a multilabel row its labels; "" for nothing."""

    @property
    def predicted(self) -> str:
        """Likewise."""

    @property
    def probability(self) -> float:
        """Of what was predicted; NaN for none."""

    @property
    def loss(self) -> float:
        """Its loss."""

    @property
    def right(self) -> bool:
        """Whether it was predicted as it is."""


@dataclass(frozen=True)
class Gallery:
    """How a line of samples stands on the sheet.

    Args:
        across: samples in a line.
        stacked: whether the predicted class has lines of its own; None where no classes are written.
        order: which of index, probability and loss share a line.
        form: size of the letters of classes, and lines of each at most.
        short: what is written of a class whose name is too long.
    """

    across: int
    stacked: bool | None
    order: tuple[tuple[int, ...], ...]
    form: Form = FORMS[0]
    short: Mapping[str, str] = field(default_factory=dict)

    @property
    def width(self) -> int:
        """Of a cell, in pixels."""
        return cell_width(self.across)

    def lines(self, pictures: Sequence[Pixels], examples: Sequence[Captioned]) -> Iterator[Pixels]:
        """Pictures of one height, each with its words below, in lines as wide as the sheet."""
        for start in range(0, len(examples), self.across):
            part = slice(start, start + self.across)
            yield self._line(pictures[part], examples[part])

    def _line(self, pictures: Sequence[Pixels], examples: Sequence[Captioned]) -> Pixels:
        height, step = pictures[0].shape[0], self.form.size + 6
        written = [[] if self.stacked is None else self._classes(example) for example in examples]
        below = height + 8 + step * max(map(len, written))
        canvas = Canvas(below + FINE_LINE * len(self.order) + 12)
        for place, (picture, example) in enumerate(zip(pictures, examples, strict=True)):
            x = EDGE + place * (self.width + GAP)
            canvas.paste(x, 0, picture)
            for row, spans in enumerate(written[place]):
                start = float(x)
                for text, color in spans:
                    canvas.text(start, height + 6 + step * row, text, size=self.form.size, color=color)
                    start += _advance(text, self.form.size)
            for row, chosen in enumerate(self.order):
                text = joined(example, chosen)
                y = below + FINE_LINE * row
                canvas.text(x, y, shorten(text, self.width, FIGURES), size=FIGURES, color=PALE)
        return canvas.pixels()

    def _classes(self, example: Captioned) -> list[list[tuple[str, Color]]]:
        """Lines of the classes of a sample, each of texts with their colours."""
        actual = self._wrapped(example.actual, 0)
        if example.right:
            return [[(line, RIGHT)] for line in actual]
        predicted = self._wrapped(example.predicted, _advance(ARROW, self.form.size))
        if not self.stacked:
            return [[(actual[0], INK), (ARROW, PALE), (predicted[0], WRONG)]]
        first, *others = predicted
        arrow: list[tuple[str, Color]] = [(ARROW, PALE), (first, WRONG)]
        return [*([(line, INK)] for line in actual), arrow, *([(line, WRONG)] for line in others)]

    def _wrapped(self, labels: str, before: float) -> list[str]:
        name = named(labels)
        return name_lines(self.short.get(name, name), self.width - before, self.form.size, most=self.form.most)


def gallery(examples: Sequence[Captioned], *, across: int, classes: bool = True) -> Gallery:
    """The gallery in which what is written of these samples fits best."""
    width = cell_width(across)
    order = _order(examples, width)
    if not classes or not any(width_of(_pair(example)) > width for example in examples if not example.right):
        return Gallery(across, False if classes else None, order)
    names = _names(examples)
    for form in FORMS:
        fits = _fits(width, form)
        if all(map(fits, names)):
            return Gallery(across, True, order, form)
    return Gallery(across, True, order, FORMS[-1], told_apart(names, _fits(width, FORMS[-1])))


def _fits(width: int, form: Form) -> Callable[[str], bool]:
    return in_lines(width - _advance(ARROW, form.size), form.size, form.most)


def _names(examples: Sequence[Captioned]) -> list[str]:
    return list(dict.fromkeys(named(name) for one in examples for name in (one.actual, one.predicted)))


def _advance(text: str, size: int) -> float:
    """Width of a text and the space behind it."""
    return width_of(f"{text} |", size) - width_of("|", size)


def is_narrow(examples: Sequence[Captioned], across: int) -> bool:
    """Whether there are names that a cell does not hold in two lines."""
    return not all(map(_fits(cell_width(across), FORMS[-1]), _names(examples)))


def cell_width(across: int) -> int:
    """Width of a cell where there are so many in a line."""
    return (ROOM - GAP * (across - 1)) // across


def named(labels: str) -> str:
    """A class, or the labels of a multilabel row, of which there may be none."""
    return one_line(labels) or "none"


def joined(example: Captioned, chosen: Sequence[int]) -> str:
    """Those of position, probability and loss, in one line; what is not known is left out.

    Example:
        >>> from types import SimpleNamespace
        >>> joined(SimpleNamespace(index=7, probability=0.992, loss=4.83), (0, 1, 2))
        '#7 · 99.2% · loss 4.8'
    """
    index = "" if example.index is None else f"#{example.index}"
    probability = "" if math.isnan(example.probability) else percent(example.probability)
    loss = "" if math.isnan(example.loss) else f"loss {_two_digits(example.loss)}"
    known = (index, probability, loss)
    return " · ".join(known[part] for part in chosen if known[part])


def _two_digits(loss: float) -> str:
    return f"{loss:.1f}" if 1 <= loss < 9.95 else number(loss, 2)


def _pair(example: Captioned) -> str:
    return f"{named(example.actual)} {ARROW} {named(example.predicted)}"


def _order(examples: Sequence[Captioned], width: int) -> tuple[tuple[int, ...], ...]:
    if all(example.index is None for example in examples):
        orders: tuple[tuple[tuple[int, ...], ...], ...] = (((1, 2),), ((1,), (2,)))
    else:
        orders = (((0, 1, 2),), ((0,), (1, 2)), ((0, 1), (2,)), ((0,), (1,), (2,)))
    fits = (
        order
        for order in orders
        if all(width_of(joined(example, part), FIGURES) <= width for example in examples for part in order)
    )
    return next(fits, orders[-1])
