"""A picture with a heading, a legend and a note below it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lightning_posttrain.core.drawing.canvas import INK, PALE, WIDTH, Canvas, Color, shorten, wrapped
from lightning_posttrain.core.drawing.plot import legend
from lightning_posttrain.core.output.artifacts import Image

SMALL = 20
EDGE, HEAD, LINE = 16, 84, 28


def sheet(
    title: str,
    below: str,
    height: int,
    draw: Callable[[Canvas], None],
    *,
    entries: Sequence[tuple[Color, str]] = (),
    note: str = "",
) -> Image:
    """A title and a line below it, a picture, a legend and a note.

    Args:
        title: in one line.
        below: smaller, in one line.
        height: of the picture, which begins at ``HEAD``.
        draw: draws it.
        entries: of the legend.
        note: wrapped.
    """
    said = wrapped(note, WIDTH - 2 * EDGE, SMALL, most=5) if note else []
    foot = HEAD + height
    canvas = Canvas(foot + 30 * len(entries) + LINE * len(said) + 20)
    canvas.text(EDGE, 10, shorten(title, WIDTH - 2 * EDGE))
    canvas.text(EDGE, 42, shorten(below, WIDTH - 2 * EDGE, SMALL), size=SMALL, color=PALE)
    draw(canvas)
    legend(canvas, foot, entries, size=SMALL, step=30)
    canvas.lines(EDGE, foot + 30 * len(entries) + 6, said, LINE, size=SMALL, color=INK)
    return canvas.image()
