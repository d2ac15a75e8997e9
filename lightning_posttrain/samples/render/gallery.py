"""Samples with a few words below each, so many in a line."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from lightning_posttrain.core.drawing.canvas import PALE, Canvas, Pixels, one_line, shorten, width_of
from lightning_posttrain.core.drawing.number_format import number
from lightning_posttrain.samples.render.captions import percent
from lightning_posttrain.samples.render.sheet import EDGE, RIGHT, ROOM, WRONG

GAP = 12
LINE, FINE_LINE = 28, 24
FIGURES = 18
ARROW = "→"
ROOMY = 1.15
"""How much wider than a cell a name may be before cells are made wider."""


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
        stacked: whether the predicted class has a line of its own; None where no classes are written.
        order: which of index, probability and loss share a line.
    """

    across: int
    stacked: bool | None
    order: tuple[tuple[int, ...], ...]

    @property
    def width(self) -> int:
        """Of a cell, in pixels."""
        return cell_width(self.across)

    @property
    def classes(self) -> int:
        """Lines that the classes take."""
        return 0 if self.stacked is None else 1 + self.stacked

    def lines(self, pictures: Sequence[Pixels], examples: Sequence[Captioned]) -> Iterator[Pixels]:
        """Pictures of one height, each with its words below, in lines as wide as the sheet."""
        for start in range(0, len(examples), self.across):
            part = slice(start, start + self.across)
            yield self._line(pictures[part], examples[part])

    def _line(self, pictures: Sequence[Pixels], examples: Sequence[Captioned]) -> Pixels:
        height = pictures[0].shape[0]
        canvas = Canvas(height + 8 + LINE * self.classes + FINE_LINE * len(self.order) + 12)
        for place, (picture, example) in enumerate(zip(pictures, examples, strict=True)):
            x = EDGE + place * (self.width + GAP)
            canvas.paste(x, 0, picture)
            if self.stacked is not None:
                self._classes(canvas, x, height + 6, example)
            for row, chosen in enumerate(self.order):
                y = height + 8 + LINE * self.classes + FINE_LINE * row
                text = joined(example, chosen)
                canvas.text(x, y, shorten(text, self.width, FIGURES), size=FIGURES, color=PALE)
        return canvas.pixels()

    def _classes(self, canvas: Canvas, x: int, y: int, example: Captioned) -> None:
        if example.right:
            canvas.text(x, y, shorten(named(example.actual), self.width), color=RIGHT)
        elif self.stacked:
            canvas.text(x, y, shorten(named(example.actual), self.width))
            _arrow(canvas, x, y + LINE, named(example.predicted), self.width)
        else:
            actual = named(example.actual)
            canvas.text(x, y, actual)
            start = x + width_of(f"{actual} |") - width_of("|")
            _arrow(canvas, start, y, named(example.predicted), self.width)


def gallery(examples: Sequence[Captioned], *, across: int, classes: bool = True) -> Gallery:
    """The gallery in which what is written of these samples fits best."""
    width = cell_width(across)
    stacked = any(width_of(_pair(example)) > width for example in examples if not example.right)
    return Gallery(across, stacked if classes else None, _order(examples, width))


def is_narrow(examples: Sequence[Captioned], across: int) -> bool:
    """Whether names are much wider than a cell."""
    names = {name for example in examples for name in (example.actual, f"{ARROW} {example.predicted}")}
    return any(width_of(name) > ROOMY * cell_width(across) for name in names)


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


def _arrow(canvas: Canvas, x: float, y: int, name: str, room: float) -> None:
    """The arrow, and the predicted class behind it."""
    canvas.text(x, y, ARROW, color=PALE)
    start = width_of(f"{ARROW} |") - width_of("|")
    canvas.text(x + start, y, shorten(name, room - start), color=WRONG)


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
