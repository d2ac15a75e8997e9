"""Formats beside the model that was tested, at a glance."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from lightning_posttrain.core.drawing.canvas import INK, PALE, WIDTH, Canvas, Color, colored, shorten, wrapped
from lightning_posttrain.core.drawing.number_format import number
from lightning_posttrain.core.drawing.plot import GRID
from lightning_posttrain.core.drawing.table_notes import sentences
from lightning_posttrain.core.output.artifacts import Image, Tagged
from lightning_posttrain.core.output.quantities import size_words
from lightning_posttrain.export.parity.counts import EDGES
from lightning_posttrain.export.render.tables import formats_table, latency_table, metrics_table
from lightning_posttrain.export.result import ExportReport, FormatParity

SMALL, LINE = 18, 25
TOP, STEP, BAR, GAP = 112, 62, 24, 10
LEFT, ROOM = 212, 240
FLIPS, LATENCY, SIZE = 532, 610, WIDTH - 12
KEPT: Color = (33, 113, 181)
REFUSED: Color = (203, 84, 30)
MARKS = ((1e-8, "1e-8"), (1e-6, "1e-6"), (1e-4, "1e-4"), (1e-2, "0.01"), (1.0, "1"))
READ = (
    "Shade: rows by the largest difference of a probability; square: the largest of all; line: what is allowed. "
    "Latency is a multiple of eager's"
)
REASON_LINES = 3


def export_artifacts(report: ExportReport, *, tag: str, title: str) -> Iterator[Tagged]:
    """The picture and the tables, under tags that begin with ``tag``."""
    yield Tagged(f"{tag}/parity", parity_image(report, title))
    yield Tagged(f"{tag}/formats", formats_table(report))
    if any(one.metrics for one in report.formats):
        yield Tagged(f"{tag}/metrics", metrics_table(report))
    if any(one.latency for one in report.formats):
        yield Tagged(f"{tag}/latency", latency_table(report))


def parity_image(report: ExportReport, title: str = "") -> Image:
    """Draw how far the answers of each format are from those that were tested, on a scale of powers of ten.

    Args:
        report: what to draw.
        title: stands above, as ``"test"``.
    """
    reasons = [_reason(one) for one in report.formats]
    heights = [STEP + (LINE * len(lines) + GAP if lines else 0) for lines in reasons]
    tops = [TOP + sum(heights[:number]) for number in range(len(heights) + 1)]
    said = wrapped(sentences("", _notes(report)).strip(), WIDTH - 24, SMALL, most=6)
    foot = tops[-1] + 44
    canvas = Canvas(foot + LINE * len(said) + 12)
    canvas.text(12, 10, shorten(f"{title} · answers of what is shipped", WIDTH - 24))
    _head(canvas)
    for one, top, lines in zip(report.formats, tops, reasons, strict=False):
        _draw(canvas, one, top)
        canvas.lines(12, top + STEP - 4, lines, LINE, size=SMALL, color=REFUSED)
    _axis(canvas, tops[-1])
    canvas.lines(12, foot, said, LINE, size=SMALL)
    return canvas.image()


def _reason(one: FormatParity) -> list[str]:
    return [] if one.kept else wrapped(one.reason, WIDTH - 24, SMALL, most=REASON_LINES)


def _notes(report: ExportReport) -> list[str]:
    weights = f"weights: {report.weights}" if report.weights else ""
    return [note for note in (READ, weights, *report.left_out) if note]


def _head(canvas: Canvas) -> None:
    canvas.text(LEFT, 56, "difference of a probability", size=SMALL, color=PALE)
    for x, text in ((FLIPS, "flips"), (LATENCY, "latency"), (SIZE, "size")):
        canvas.text(x, 82, text, size=SMALL, anchor="ra", color=PALE)


def _draw(canvas: Canvas, one: FormatParity, top: int) -> None:
    middle, color = top + STEP // 2 - 6, KEPT if one.kept else REFUSED
    canvas.text(12, middle - 14, shorten(" + ".join(one.files) or one.name, LEFT - 30, SMALL), size=SMALL, anchor="lm")
    canvas.text(12, middle + 12, "kept" if one.kept else "refused", size=SMALL, anchor="lm", color=color)
    if one.rows and any(one.spread):
        _strip(canvas, one, middle, color)
    else:
        canvas.text(LEFT, middle, "not compared", size=SMALL, anchor="lm", color=PALE)
    ratio = one.latency_ratio
    texts = (
        (FLIPS, count_words(one.flips) if one.rows else "–", color if one.flips else INK),
        (LATENCY, "–" if math.isnan(ratio) else f"{number(ratio, 2)}×", INK),
        (SIZE, size_words(one.bytes), INK),
    )
    for x, text, ink in texts:
        canvas.text(x, middle, text, size=SMALL, anchor="rm", color=ink)


def _strip(canvas: Canvas, one: FormatParity, middle: int, color: Color) -> None:
    """Rows by their largest difference, darker where there are more; the largest, and what is allowed."""
    shares = np.sqrt(np.asarray(one.spread) / max(one.spread))
    ends = [LEFT, *(place(edge) for edge in EDGES), LEFT + ROOM]
    canvas.box(LEFT, middle - BAR // 2, ROOM, BAR, (244, 245, 247))
    for share, left, right in zip(shares, ends, ends[1:], strict=False):
        if share:
            red, green, blue = colored(np.array(0.15 + 0.7 * share), "Blues" if one.kept else "Oranges").tolist()
            canvas.box(left, middle - BAR // 2, right - left, BAR, (red, green, blue))
    if math.isfinite(one.tolerance):
        canvas.box(place(one.tolerance) - 1, middle - BAR // 2 - 6, 3, BAR + 12, INK)
    if math.isfinite(one.largest):
        canvas.box(place(one.largest) - 6, middle - 6, 12, 12, (255, 255, 255))
        canvas.box(place(one.largest) - 4, middle - 4, 8, 8, color)


def place(value: float) -> int:
    """Where a difference lies, in pixels from the left; 1 at the right, and below the first edge a place of its own."""
    zero, first = 24, math.log10(EDGES[0])
    if value < EDGES[0]:
        return LEFT + zero // 2
    share = min(1 - math.log10(value) / first, 1.0)
    return LEFT + zero + round(share * (ROOM - zero))


def _axis(canvas: Canvas, foot: int) -> None:
    canvas.box(LEFT, foot, ROOM, 1, GRID)
    for value, text in ((0.0, "0"), *MARKS):
        x = place(value)
        canvas.box(x, foot, 1, 6, PALE)
        canvas.text(x, foot + 9, text, size=16, anchor="ma", color=PALE)


def count_words(count: int) -> str:
    """A number in at most five characters.

    Example:
        >>> count_words(1234), count_words(56_700), count_words(10_000_000), count_words(3_200_000_000)
        ('1,234', '57k', '10M', '3200M')
    """
    for unit, least in (("M", 1e6), ("k", 1e3)):
        if count >= 10 * least * 0.9995:
            return f"{count / least:.0f}{unit}"
    return f"{count:,}"
