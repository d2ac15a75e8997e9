"""Reliability diagrams, and calibration before and after an adjustment as tables."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from lightning_posttrain.calibration.result import CalibrationFigures, CalibrationReport
from lightning_posttrain.core.drawing.canvas import INK, PALE, WIDTH, Canvas, Color, shorten, wrapped
from lightning_posttrain.core.drawing.number_format import paler
from lightning_posttrain.core.drawing.plot import DOT, Axes, Line
from lightning_posttrain.core.drawing.table_notes import sentences
from lightning_posttrain.core.output.artifacts import Cell, Image, Table, Tagged
from lightning_posttrain.core.statistics.binomial import wilson_interval

HUE: Color = (33, 113, 181)
TOP, STRIP = 116, 70
"""Where diagrams begin, and how high the rows of the bins are drawn."""
BEYOND = 0.035
"""How far a diagram reaches beyond 0 and 1, so that dots at its ends are whole."""
LARGEST, SMALLEST = 13.0, 3.5
"""Radius in pixels of the dot of the fullest bin, and of any."""
HOW = (
    "A dot is a bin of rows, its area how many; its line is the 95 % interval (Wilson). On the diagonal what was "
    "promised came true; below it the model is too sure, above it not sure enough."
)
READ = {
    "ece": "ECE: distance of confidence and accuracy, mean over rows",
    "ace": "ACE: the same over bins of equally many rows",
    "classwise_ece": "classwise ECE",
    "mce": "MCE: the largest distance of a bin",
    "brier": "Brier score",
    "brier_reliability": "Brier: + reliability, from miscalibration",
    "brier_resolution": "Brier: − resolution, from telling rows apart",
    "brier_uncertainty": "Brier: + uncertainty, of the classes",
    "brier_within": "Brier: + rest within bins",
    "log_loss": "log loss",
}


TITLES = {
    "temperature": "temperature",
    "vector": "vector scaling",
    "platt": "Platt scaling",
    "isotonic": "isotonic",
}


class _Panel(NamedTuple):
    name: str
    figures: CalibrationFigures
    left: int
    side: int


def calibration_artifacts(report: CalibrationReport, *, tag: str, title: str) -> Iterator[Tagged]:
    """The reliability diagram, the figures and the bins of a report, under tags that begin with ``tag``."""
    yield Tagged(f"{tag}/reliability", calibration_image(report, title))
    yield Tagged(f"{tag}/figures", calibration_table(report))
    yield Tagged(f"{tag}/bins", bins_table(report))


def calibration_image(report: CalibrationReport, title: str = "calibration") -> Image:
    """Draw how often came true what was predicted with a probability, before and after an adjustment.

    A dot is a bin, its area how many rows it has, its line the 95 % interval of Wilson. On the diagonal the model is
    calibrated; below it, it is too sure. Beneath are the rows in each bin.

    Args:
        report: what to draw.
        title: stands above, as ``"val"``.
    """
    panels = _panels(report)
    said = [line for note in report.notes for line in wrapped(sentences("", [note]), WIDTH - 24, 20, most=3)]
    how = wrapped(HOW, WIDTH - 24, 18, most=4)
    foot = TOP + panels[0].side + 54 + STRIP + 114
    canvas = Canvas(foot + 24 * len(how) + 18 + 27 * len(said) + 8)
    canvas.text(12, 10, shorten(f"{title} · reliability diagram", WIDTH - 24))
    for panel in panels:
        _draw(canvas, panel)
    canvas.lines(12, foot, how, 24, size=18, color=PALE)
    canvas.lines(12, foot + 24 * len(how) + 10, said, 27, size=20)
    return canvas.image()


def _panels(report: CalibrationReport) -> list[_Panel]:
    if report.after is None:
        return [_Panel("as the model says", report.before, 70, 460)]
    side = (WIDTH - 2 * 62 - 14) // 2
    return [
        _Panel("before", report.before, 58, side),
        _Panel(f"after {TITLES.get(report.method or '', 'adjustment')}", report.after, 58 + side + 66, side),
    ]


def _draw(canvas: Canvas, panel: _Panel) -> None:
    figures, side = panel.figures, panel.side
    most = max(figures.rows.tolist())
    lines = [line for row in figures.bins() for line in _dot(*row, most=most)]
    diagonal = Line((0.0, 1.0), (0.0, 1.0), PALE, 1.0)
    axes = _axes(panel)
    axes.draw(canvas, [diagonal, *lines], x_label="predicted probability")
    canvas.text(panel.left, TOP - 40, shorten(panel.name, side), anchor="ls")
    canvas.text(panel.left, TOP - 10, "share that came true", size=18, anchor="ls", color=PALE)
    below = TOP + side + 64
    _strip(canvas, panel, below)
    values = (("ECE", figures.ece), ("log loss", figures.log_loss))
    for number, (name, value) in enumerate(values):
        canvas.text(panel.left, below + STRIP + 30 + 28 * number, f"{name} {_written(value)}")


def _axes(panel: _Panel) -> Axes:
    ends = (-BEYOND, 1 + BEYOND)
    return Axes(panel.left, TOP, panel.side, panel.side, ends, ends)


def _written(value: float) -> str:
    return "not defined" if math.isnan(value) else f"{value:.4f}"


def _dot(_low: float, _high: float, rows: int, confidence: float, accuracy: float, *, most: int) -> list[Line]:
    """A bin: a line as long as the interval of its share, and a dot whose area is how many rows it has."""
    if not rows:
        return []
    radius = max(LARGEST * math.sqrt(rows / most), SMALLEST)
    whisker = Line((confidence,) * 2, wilson_interval(accuracy, rows), paler(HUE, 0.35), 2.0)
    return [whisker, Line((confidence,), (accuracy,), HUE, radius - DOT)]


def _strip(canvas: Canvas, panel: _Panel, top: int) -> None:
    """The rows of each bin, and how many the fullest has."""
    rows, edges = panel.figures.rows.tolist(), panel.figures.edges.tolist()
    most = max(rows)
    for low, high, count in zip(edges[:-1], edges[1:], rows, strict=True):
        height = math.ceil(count / max(most, 1) * STRIP)
        left, right = (round(_axes(panel).place(edge, 0)[0]) for edge in (low, high))
        if count:
            canvas.box(panel.left + left, top + STRIP - height, max(right - left - 1, 1), height, PALE)
    canvas.box(panel.left, top + STRIP, panel.side, 1, INK)
    canvas.text(panel.left, top + STRIP + 4, f"rows in a bin, {most:,} at most", size=18, color=PALE)


def calibration_table(report: CalibrationReport) -> Table:
    """The ten figures, before and after."""
    columns: Sequence[CalibrationFigures] = [report.before, *([report.after] if report.after is not None else [])]
    found = [figures.figures() for figures in columns]
    rows = tuple((READ[name], *(_cell(values[name]) for values in found)) for name in found[0])
    return Table(("figure", "before", "after")[: 1 + len(found)], rows, note=sentences("", report.notes).strip())


def bins_table(report: CalibrationReport) -> Table:
    """The bins of the diagrams."""
    named = {"before": report.before, "after": report.after}
    rows = (
        (name, low, high, count, _cell(confidence), _cell(accuracy))
        for name, figures in named.items()
        if figures is not None
        for low, high, count, confidence, accuracy in figures.bins()
    )
    return Table(("scores", "from", "to", "rows", "confidence", "accuracy"), tuple(rows), files_only=True)


def _cell(value: float) -> Cell:
    return None if math.isnan(value) else value
