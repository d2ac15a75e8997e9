"""Training against validation over epochs."""

from __future__ import annotations

import math

from lightning_posttrain.classification.result.gap import GapHistory, Pair
from lightning_posttrain.core.drawing.canvas import WIDE, Canvas, wrapped
from lightning_posttrain.core.drawing.plot import COLORS, Axes, Line, legend
from lightning_posttrain.core.drawing.table_notes import sentences
from lightning_posttrain.core.output.artifacts import Image, Table

PANEL = 380
TRAIN, VAL = COLORS[0], COLORS[1]


def gap_image(result: GapHistory, *, title: str = "training and validation") -> Image:
    """A panel for each figure, two in a row: training and validation over epochs, a dot where validation was best."""
    shown = [name for name, pairs in result.history.items() if any(map(_drawable, pairs))]
    said = [line for note in result.notes for line in wrapped(f"{note}.", WIDE[0] - 24, 19, most=5)]
    foot = 60 + (PANEL + 96) * -(-len(shown) // 2)
    canvas = Canvas(max(foot + 76 + 26 * len(said), WIDE[1]), WIDE[0])
    canvas.text(12, 10, title)
    across = WIDE[0] // min(len(shown), 2) if shown else WIDE[0]
    for number, name in enumerate(shown):
        down, aside = divmod(number, 2)
        _panel(canvas, result, name, (aside * across, 80 + down * (PANEL + 96)), across)
    legend(canvas, foot, [(TRAIN, "training, as it went"), (VAL, "validation; the large dot is its best epoch")])
    for number, line in enumerate(said):
        canvas.text(12, foot + 66 + 26 * number, line, size=19)
    return canvas.image()


def _panel(canvas: Canvas, result: GapHistory, name: str, corner: tuple[int, int], width: int) -> None:
    pairs = [pair for pair in result.history[name] if _drawable(pair)]
    epochs = [float(pair.epoch) for pair in pairs]
    values = [value for pair in pairs for value in (pair.train, pair.val)]
    low, high = min(values), max(values)
    room = 0.06 * (high - low) or 0.05
    aside = 0.02 * (epochs[-1] - epochs[0]) or 0.5
    sides = (epochs[0] - aside, epochs[-1] + aside)
    box = (corner[0] + 92, corner[1] + 24, width - 116, PANEL - 24)
    axes = Axes(*box, sides, (low - room, high + room), whole=True)
    best = result.best(name)
    dots = len(pairs) <= 30
    lines = [
        Line(epochs, [pair.train for pair in pairs], TRAIN, 4.0, dots=dots),
        Line(epochs, [pair.val for pair in pairs], VAL, 4.0, dots=dots),
        Line([best.epoch], [best.val], VAL, 8.0, dots=True),
    ]
    axes.draw(canvas, lines, x_label="epoch", y_label=f"{name}; training − val: {pairs[-1].gap:+.4f}")


def _drawable(pair: Pair) -> bool:
    return math.isfinite(pair.train) and math.isfinite(pair.val)


def gap_table(result: GapHistory) -> Table:
    """The last epoch's figures, and the best validation."""
    rows = []
    for name, pairs in result.history.items():
        last, best = pairs[-1], result.best(name)
        rows.append((name, last.train, last.val, last.gap, best.val, best.epoch))
    columns = ("figure", "train", "val", "gap", "best val", "at epoch")
    return Table(columns, tuple(rows), note=sentences("", result.notes))
