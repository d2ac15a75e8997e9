"""What each feature adds to a model's probabilities, over many rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lightning_posttrain.core.drawing.beeswarm import LANES, Swarm, blend, colors_of
from lightning_posttrain.core.drawing.canvas import INK, PALE, TEXT, WIDTH, Canvas, Color, Pixels, shorten, width_of
from lightning_posttrain.core.drawing.plot import COLORS, GRID, class_colors
from lightning_posttrain.core.drawing.units import UNITS, Unit, signed
from lightning_posttrain.core.output.artifacts import Image, Table
from lightning_posttrain.explanations.result.interpretation import Importance
from lightning_posttrain.samples.render.sheet import EDGE, ROOM, SMALL, empty, foot, heading_pixels, stacked, whole

Values = NDArray[np.float64]
TOP, DOTS, PANELS = 12, 300, 3
FEW, FEATURES, NARROW = 8, 6, 5
"""Where there are several classes: features with a bar, those with dots in each panel, and lanes of dots."""
NAMED = 8
"""Classes with a colour of their own, where there are more; the others share a grey one."""
NAME, BAR, TICK = 218, 40, 18
LEFT, HEAD = EDGE + NAME + 10, 86
OTHERS: Color = (196, 200, 205)
TITLE = "what the model relies on (SHAP)"
READ_BARS = "The longer its bar, the more the model relies on a feature."


@dataclass(frozen=True, eq=False)
class _View:
    """What is drawn.

    Args:
        importance: of which.
        values: in the unit that is drawn ``(C, N, F)``, 0 where they are not finite.
        means: of their sizes ``(C, F)``.
        classes: those that are drawn, the largest first.
        top: features that are drawn, the largest first.
    """

    importance: Importance
    values: Values
    means: Values
    classes: list[int]
    top: list[int]

    @property
    def unit(self) -> Unit:
        """What values are drawn in."""
        return UNITS[self.importance.unit]


def importance_image(importance: Importance, *, title: str = "") -> Image:
    """Bars of the mean size of each feature's Shapley values, and a dot for each row.

    The twelve features with the largest mean; of two classes the second alone where the first is its mirror, as with a
    softmax. Of several classes the eight with the largest means of all added up, and dots for the six that matter most
    for each of the three largest; of 300 rows at most.

    Args:
        importance: Shapley values; those of probabilities are drawn as percentage points.
        title: stands above, as ``"val"``.
    """
    heading = heading_pixels(f"{title} · {TITLE}" if title else TITLE)
    if not importance.values.numel():
        return stacked([heading, empty("no row was explained", 60, WIDTH)])
    view = _view(importance)
    panels = [_swarm(view, k) for k in view.classes[: PANELS if len(view.classes) > 1 else 1]]
    return stacked([heading, _read(READ_BARS), _legend(view), _bars(view), *panels, foot([_said(view)])])


def _view(importance: Importance) -> _View:
    scaled = UNITS[importance.unit].times * importance.values.double().numpy()
    values = np.nan_to_num(scaled, nan=0.0, posinf=0.0, neginf=0.0)
    means = np.abs(values).mean(1)
    classes = [1] if _mirrored(values) else np.argsort(-means.sum(1), kind="stable").tolist()
    top = np.argsort(-means[classes].sum(0), kind="stable")[: TOP if len(classes) == 1 else FEW].tolist()
    return _View(importance, values, means, classes, top)


def _mirrored(values: Values) -> bool:
    """Whether there are two classes, and what speaks for one speaks as much against the other."""
    return len(values) == 2 and bool(np.abs(values[0] + values[1]).max() <= 1e-3 * np.abs(values).max())


def _said(view: _View) -> str:
    importance, (_, rows, features) = view.importance, view.values.shape
    drawn = f" ({DOTS} of them drawn)" if rows > DOTS else ""
    how = {"exact": "exact", "kernel": "by KernelSHAP", "permutation": "by permutations"}
    said = [f"Shapley values of {rows:,} rows{drawn}, {how.get(importance.method, importance.method)}."]
    if importance.background:
        said.append(f"A feature that is left out has its values in {importance.background:,} other rows.")
    if features > len(view.top):
        said.append(f"The table has all {features} features.")
    if not bool(importance.values.isfinite().all()):
        said.append("Values that are not finite are drawn as 0.")
    return " ".join(said)


def _read(text: str) -> Pixels:
    lines = whole(text, ROOM, TEXT - 1)
    canvas = Canvas(28 * len(lines) + 4)
    canvas.lines(EDGE, 0, lines, 28, size=TEXT - 1, color=PALE)
    return canvas.pixels()


def _shades(view: _View) -> list[tuple[Color, str, list[int]]]:
    """Colour, name and classes of each piece of a bar."""
    names, classes = view.importance.class_names, view.classes
    many = len(classes) > len(COLORS)
    own = classes[:NAMED] if many else classes
    numbers = view.importance.classes or range(len(names))
    pieces = [(color, names[k], [k]) for color, k in zip(class_colors([numbers[k] for k in own]), own, strict=True)]
    if many:
        rest = classes[NAMED:]
        pieces.append((OTHERS, f"{len(rest)} other classes", rest))
    return pieces


def _legend(view: _View) -> Pixels:
    """The classes in as many lines as they take; of one class, its name."""
    entries = [(color, shorten(name, ROOM - 40, SMALL)) for color, name, _ in _shades(view)]
    places: list[tuple[float, int]] = []
    x, line = float(EDGE), 0
    for _, name in entries:
        width = 28 + width_of(name, SMALL) + 22
        if x > EDGE and x + width - 22 > WIDTH - EDGE:
            x, line = float(EDGE), line + 1
        places.append((x, line))
        x += width
    canvas = Canvas(28 * (line + 1) + 30)
    for (color, name), (left, at) in zip(entries, places, strict=True):
        canvas.box(round(left), 28 * at + 4, 18, 18, color)
        canvas.text(left + 26, 28 * at + 13, name, size=SMALL, anchor="lm")
    canvas.text(LEFT, 28 * (line + 1) + 4, f"mean size, in {view.unit.name}", size=TICK, color=PALE)
    return canvas.pixels()


def _bars(view: _View) -> Pixels:
    canvas = Canvas(BAR * len(view.top) + 12)
    totals = view.means[view.classes].sum(0)
    room = WIDTH - LEFT - 84
    scale = room / (float(totals.max()) or 1.0)
    for line, feature in enumerate(view.top):
        y, end = BAR * line, 0.0
        _name(canvas, y, BAR, view.importance.names[feature])
        for color, _, classes in _shades(view):
            start, end = end, end + float(view.means[classes, feature].sum())
            left, right = LEFT + round(start * scale), LEFT + round(end * scale)
            if right > left:
                canvas.box(left, y + 8, right - left, BAR - 16, color)
        canvas.text(
            LEFT + round(end * scale) + 8, y + BAR / 2, view.unit.short(totals[feature]), size=SMALL, anchor="lm"
        )
    canvas.box(LEFT - 1, 0, 1, BAR * len(view.top), PALE)
    return canvas.pixels()


def _name(canvas: Canvas, top: int, height: int, name: str) -> None:
    """The name of a feature beside its row, in two lines where it is long."""
    canvas.name(LEFT - 12, top + height / 2, name, NAME, size=SMALL, most=2 if height >= BAR else 1)


def _swarm(view: _View, k: int) -> Pixels:
    chosen = np.linspace(0, view.values.shape[1] - 1, min(view.values.shape[1], DOTS)).round().astype(np.int64)
    shown = view.importance.shown.double().numpy()
    alone = len(view.classes) == 1
    top = np.argsort(-view.means[k], kind="stable")[: TOP if alone else FEATURES].tolist()
    colors = np.stack([colors_of(shown[:, feature])[chosen] for feature in top])
    swarm = Swarm(view.values[k][chosen][:, top].T, colors, WIDTH - LEFT - EDGE, LANES if alone else NARROW)
    pixels, heights = swarm.draw()
    canvas = Canvas(HEAD + len(pixels) + 74)
    name = view.importance.class_names[k]
    canvas.box(EDGE, 6, ROOM, 1, GRID)
    canvas.text(EDGE, 18, shorten(f"{view.unit.title} {name}", ROOM - 270))
    _color_legend(canvas, 31)
    canvas.text(EDGE, 48, f"Each dot is a row; right of the line, {view.unit.right}.", size=SMALL, color=PALE)
    canvas.paste(LEFT, HEAD, pixels)
    y = HEAD
    for feature, height in zip(top, heights, strict=True):
        _name(canvas, y, height, view.importance.names[feature])
        y += height
    for mark in swarm.marks():
        text = signed(mark)
        x = min(LEFT + float(swarm.place(mark)), WIDTH - width_of(text, TICK) / 2)
        canvas.text(x, y + 6, text, size=TICK, anchor="ma", color=PALE)
    canvas.text(LEFT + (WIDTH - LEFT) / 2, y + 32, view.unit.name, size=SMALL, anchor="ma", color=INK)
    return canvas.pixels()


def _color_legend(canvas: Canvas, y: int) -> None:
    bar = np.repeat(blend(np.linspace(0, 1, 90))[None], 12, 0).astype(np.uint8)
    right = WIDTH - EDGE
    canvas.text(right, y, "high value", size=TICK, anchor="rm", color=PALE)
    right -= round(width_of("high value", TICK)) + 8
    canvas.paste(right - 90, y - 6, bar)
    canvas.text(right - 98, y, "low", size=TICK, anchor="rm", color=PALE)


def importance_table(importance: Importance) -> Table:
    """The mean size of each feature's Shapley values for each class, in the unit of the picture, the largest first."""
    view = _view(importance) if importance.values.numel() else None
    names = tuple(importance.class_names[k] for k in sorted(view.classes)) if view else importance.class_names
    unit = UNITS[importance.unit]
    note = f"Mean size of the Shapley values, in {unit.name}: how far a feature moves {unit.moved}."
    if view is None:
        return Table(("feature", *names), (), note="No row was explained.")
    order: Sequence[int] = np.argsort(-view.means[view.classes].sum(0), kind="stable").tolist()
    means = view.means[sorted(view.classes)]
    rows = tuple((importance.names[j], *means[:, j].tolist()) for j in order)
    return Table(("feature", *names), rows, note=note)
