"""Dots that stand above and below each other where they would overlap."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PILImage
from PIL import ImageDraw

from lightning_posttrain.core.drawing.attribution_colors import AGAINST, FOR
from lightning_posttrain.core.drawing.canvas import Color, Pixels
from lightning_posttrain.core.drawing.plot import FINE, GRID, ticks

Values = NDArray[np.float64]
LANES = 9
"""Dots above each other, at most; then they overlap."""
RADIUS, STEP = 3.6, 7
SPAN = 7.0
"""Pixels that two dots of one lane are apart, at least."""
LEAST = 44
ZERO: Color = (128, 134, 139)
UNKNOWN: Color = (170, 174, 178)
PAD = 8


def lanes(places: Values, most: int = LANES) -> NDArray[np.int64]:
    """A lane for each dot ``(n,)``, 0 in the middle, so that no two of one lane overlap while there is room.

    Of ``most`` lanes, from left to right each takes the innermost that is free, or the one that was free for longest.

    Example:
        >>> lanes(np.array([0.0, 1.0, 2.0, 9.0])).tolist()
        [0, 1, -1, 0]
    """
    order = [0, *(sign * step for step in range(1, most // 2 + 1) for sign in (1, -1))]
    ends = np.full(len(order), -np.inf)
    chosen = np.zeros(len(places), np.int64)
    for dot in np.argsort(places, kind="stable").tolist():
        free = ends + SPAN <= places[dot]
        lane = int(free.argmax()) if free.any() else int(ends.argmin())
        ends[lane] = places[dot]
        chosen[dot] = order[lane]
    return chosen


@dataclass(frozen=True, eq=False)
class Swarm:
    """Rows of dots on one scale.

    Args:
        values: of the dots of each row ``(R, n)``, finite.
        colors: of each ``(R, n, 3)``.
        width: of the sheet in pixels.
        lanes: dots above each other in a row, at most.
    """

    values: Values
    colors: NDArray[np.uint8]
    width: int
    lanes: int = LANES

    @property
    def ends(self) -> tuple[float, float]:
        """The smallest and the largest value, with 0 between them."""
        low, high = min(float(self.values.min(initial=0)), 0.0), max(float(self.values.max(initial=0)), 0.0)
        return (low, high) if high > low else (-1.0, 1.0)

    def place(self, values: Values | float) -> Values:
        """Pixels from the left for values."""
        low, high = self.ends
        return PAD + (np.asarray(values, np.float64) - low) / (high - low) * (self.width - 2 * PAD)

    def marks(self) -> list[float]:
        """Round numbers for a scale."""
        return ticks(*self.ends, most=5)

    def draw(self) -> tuple[Pixels, list[int]]:
        """The sheet ``(H, width, 3)``, and the height of each row."""
        places = self.place(self.values)
        rows = [lanes(row, self.lanes) for row in places]
        heights = [max(LEAST, int((2 * np.abs(row).max(initial=0) + 1) * STEP + 9)) for row in rows]
        sheet = PILImage.new("RGB", (self.width * FINE, sum(heights) * FINE), "white")
        brush = ImageDraw.Draw(sheet)
        for mark in (*self.marks(), 0.0):
            x = float(self.place(mark)) * FINE
            brush.line([(x, 0), (x, sheet.height)], fill=GRID if mark else ZERO, width=FINE)
        top = 0
        for across, up, colors, height in zip(places, rows, self.colors.tolist(), heights, strict=True):
            brush.line([(0, top * FINE), (sheet.width, top * FINE)], fill=GRID, width=FINE)
            for x, lane, color in zip(across.tolist(), up.tolist(), colors, strict=True):
                y = top + height / 2 - lane * STEP
                box = [(x - RADIUS) * FINE, (y - RADIUS) * FINE, (x + RADIUS) * FINE, (y + RADIUS) * FINE]
                brush.ellipse(box, fill=tuple(color))
            top += height
        return np.asarray(sheet.resize((self.width, top), PILImage.Resampling.BOX)), heights


def colors_of(values: Values) -> NDArray[np.uint8]:
    """A colour ``(N, 3)`` for each of a feature's values: by rank, from blue for low to red for high; grey for NaN."""
    finite = np.isfinite(values)
    ordered = np.sort(values[finite])
    below, upto = (np.searchsorted(ordered, values, side) for side in ("left", "right"))
    level = (below + upto - 1) / max(2 * (len(ordered) - 1), 1)
    colors = blend(np.where(finite, level, 0.5))
    return np.where(finite[:, None], colors, np.array(UNKNOWN)).astype(np.uint8)


def blend(level: Values) -> Values:
    """From blue over violet to red; ``(n,)`` in 0 to 1 to ``(n, 3)``."""
    stops = np.array([AGAINST, (150, 96, 168), FOR], np.float64)
    return np.stack([np.interp(level, (0, 0.5, 1), stops[:, channel]) for channel in range(3)], -1).round()
