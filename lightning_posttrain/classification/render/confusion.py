"""The confusion matrix as a picture.

Right cells are blue, errors orange, both by their share of the actual class, so that a rare class is read like
a common one and a few errors stand out. Numbers are left out where they would be too small to read.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lightning_posttrain.classification.result.confusion import Confusion
from lightning_posttrain.core.drawing.canvas import (
    PALE,
    TEXT,
    WIDTH,
    Canvas,
    Color,
    Pixels,
    colored,
    ink_on,
    resized,
    shorten,
    width_of,
)
from lightning_posttrain.core.drawing.names import short_names
from lightning_posttrain.core.output.artifacts import Image

SMALLEST = 10
LABEL_ROOM = 190
FEW = 22
"""Classes whose counts find room in a picture of the usual width; up to 100 stand in one twice as wide."""


@dataclass(frozen=True)
class _Layout:
    width: int
    left: int
    top: int
    cell: float
    size: int
    side: int
    label: int
    every: int
    upright: bool


def confusion_image(confusion: Confusion, *, normalized: bool = False, title: str = "") -> Image:
    """Draw the matrix, rows actual and columns predicted.

    Args:
        confusion: what to draw.
        normalized: write percent of the actual class instead of counts.
        title: stands above, as ``"val"``.
    """
    layout = _layout(confusion.class_names)
    canvas = Canvas(layout.top + layout.side + 84, layout.width)
    numbered = layout.size >= SMALLEST
    by_share = normalized or numbered
    shade = _shares(confusion) if by_share else _relative(confusion)
    colors = _colors(shade if layout.cell >= 2 else _pooled(shade, layout.side // 3))
    heading = f"confusion matrix{', % of the actual class' if normalized else ''}"
    canvas.text(12, 10, shorten(f"{title} · {heading}" if title else heading, layout.width - 24), size=TEXT)
    _cells(canvas, colors, layout)
    if numbered:
        _numbers(canvas, confusion, colors, layout, normalized)
    _labels(canvas, confusion.class_names, layout)
    _legend(canvas, layout, confusion, "share of the actual class" if by_share else "count, logarithmic")
    return canvas.image()


def has_numbers(names: tuple[str, ...]) -> bool:
    """Whether the matrix of these classes has room for its counts."""
    return _layout(names).size >= SMALLEST


def _layout(names: tuple[str, ...]) -> _Layout:
    count = len(names)
    width = WIDTH if count <= FEW or 0.8 * (2 * WIDTH - 100) / count < SMALLEST else 2 * WIDTH
    most = LABEL_ROOM if width == WIDTH or count > 2 * FEW else 3 * LABEL_ROOM // 2
    label = min(TEXT, int(0.8 * (width - 100) / count))
    if label >= SMALLEST and max(width_of(name, label) for name in names) > most:
        label = max(SMALLEST, int(label * 0.75)) if width == WIDTH else label
    steps = (step * 10**power for power in range(1, 9) for step in (1, 2, 5))
    every = 1 if label >= SMALLEST else next(step for step in steps if count <= 10 * step)
    label = label if every == 1 else 16
    shown = names if every == 1 else [str(count)]
    room = min(most, math.ceil(max(width_of(name, label) for name in shown)) + 6)
    left = 46 + room
    cell = min((width - left - 14) / count, 250)
    upright = any(width_of(name, label) > cell - 6 for name in shown) and every == 1
    top = 80 + (room if upright else 30)
    size = min(TEXT, int(cell * 0.55))
    return _Layout(width, left, top, cell, size, round(cell * count), label, every, upright)


def _shares(confusion: Confusion) -> NDArray[np.float64]:
    shares: NDArray[np.float64] = confusion.normalized.numpy()
    return np.nan_to_num(shares)


def _relative(confusion: Confusion) -> NDArray[np.float64]:
    """Counts over the largest, logarithmic, for matrices too large for numbers."""
    counts = np.log1p(confusion.counts.numpy().astype(np.float64))
    return counts / max(float(counts.max()), 1.0)


def _pooled(shade: NDArray[np.float64], side: int) -> NDArray[np.float64]:
    """The largest of the cells that fall together: a mean would pale a single error."""
    edges = np.unique(np.linspace(0, len(shade), side, endpoint=False).astype(int))
    rows = np.maximum.reduceat(shade, edges, axis=0)
    pooled: NDArray[np.float64] = np.maximum.reduceat(rows, edges, axis=1)
    return pooled


def _colors(share: NDArray[np.float64]) -> Pixels:
    # a share of 1 % must be seen: errors by the square root of their share
    errors = colored(np.where(share > 0, 0.1 + 0.8 * np.sqrt(share), 0), "Oranges")
    right = colored(np.where(share > 0, 0.15 + 0.75 * share, 0), "Blues")
    errors[share == 0] = right[share == 0] = (246, 247, 248)
    diagonal = np.eye(len(share), dtype=bool)[..., None]
    return np.where(diagonal, right, errors).astype(np.uint8)


def _cells(canvas: Canvas, colors: Pixels, layout: _Layout) -> None:
    if layout.cell < 9:
        canvas.paste(layout.left, layout.top, resized(colors, layout.side, layout.side))
        return
    gap = 2 if layout.cell >= 16 else 1
    for (i, j), (x, y, width, height) in _boxes(layout, len(colors)):
        color: Color = tuple(colors[i, j].tolist())
        canvas.box(x, y, width - gap, height - gap, color)


def _boxes(layout: _Layout, count: int) -> list[tuple[tuple[int, int], tuple[int, int, int, int]]]:
    """Whole-pixel rectangle of each cell."""
    edges = [round(i * layout.cell) for i in range(count + 1)]
    return [
        (
            (i, j),
            (layout.left + edges[j], layout.top + edges[i], edges[j + 1] - edges[j], edges[i + 1] - edges[i]),
        )
        for i in range(count)
        for j in range(count)
    ]


def _numbers(canvas: Canvas, confusion: Confusion, colors: Pixels, layout: _Layout, normalized: bool) -> None:
    shares, counts = _shares(confusion), confusion.counts.numpy()
    texts = {
        (i, j): _percent(float(shares[i, j])) if normalized else _count(int(counts[i, j]))
        for i, j in np.ndindex(*counts.shape)
    }
    widest = max(texts.values(), key=len)
    size = layout.size
    while size >= SMALLEST and width_of(widest, size) > layout.cell - 4:
        size -= 1
    if size < SMALLEST:
        return
    for cell, (x, y, width, height) in _boxes(layout, len(counts)):
        if counts[cell]:
            color = ink_on(tuple(colors[cell].tolist()))
            canvas.text(x + width / 2 - 1, y + height / 2 - 1, texts[cell], size=size, anchor="mm", color=color)


def _percent(share: float) -> str:
    # neither an all-right row with an error nor an error that is there may read as 100 or 0
    percent = 100 * share
    if 0 < percent < 0.95:
        return f"{max(percent, 0.1):.1f}".lstrip("0")
    return ">99" if 99.5 <= percent < 100 else f"{percent:.0f}"


def _count(count: int) -> str:
    if count < 10_000:
        return str(count)
    return f"{count / 1000:.0f}k" if count < 1_000_000 else f"{count / 1_000_000:.1f}M"


def _labels(canvas: Canvas, names: tuple[str, ...], layout: _Layout) -> None:
    size = layout.label
    canvas.text(layout.left + layout.side / 2, 46, "predicted", anchor="ma", size=TEXT, color=PALE)
    canvas.upright(18, layout.top + layout.side / 2 + width_of("actual") / 2, "actual", size=TEXT, color=PALE)
    short = short_names(names, layout.left - 52, size) if layout.every == 1 else list(map(str, range(len(names))))
    for i in range(0, len(names), layout.every):
        middle, name = (i + 0.5) * layout.cell, short[i]
        canvas.text(layout.left - 8, layout.top + middle, name, anchor="rm", size=size)
        if layout.upright:
            canvas.upright(layout.left + middle, layout.top - 8, name, size=size)
        else:
            canvas.text(layout.left + middle, layout.top - 8, name, anchor="ms", size=size)


def _legend(canvas: Canvas, layout: _Layout, confusion: Confusion, shade: str) -> None:
    y = layout.top + layout.side + 18
    canvas.box(12, y, 20, 20, (33, 113, 181))
    canvas.text(40, y + 10, "right", size=20, anchor="lm")
    canvas.box(112, y, 20, 20, (241, 105, 19))
    canvas.text(140, y + 10, f"error; shade: {shade}", size=20, anchor="lm")
    canvas.text(12, y + 34, shorten(_remarks(confusion, layout), layout.width - 24, 18), size=18, color=PALE)


def _remarks(confusion: Confusion, layout: _Layout) -> str:
    support = confusion.support.tolist()
    empty = [k for k, rows in enumerate(support) if not rows and k not in confusion.ignored]
    absent = [confusion.class_names[k] for k in empty]
    indices = "labels are class indices" if layout.every > 1 else ""
    remarks = [indices, *confusion.notes, f"no rows of {', '.join(absent)}" if absent else ""]
    return "; ".join(filter(None, remarks))
