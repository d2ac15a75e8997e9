"""Reliability diagrams, and calibration before and after an adjustment as tables."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from lightning_posttrain.calibration.result import CalibrationFigures, CalibrationReport
from lightning_posttrain.core.drawing.canvas import INK, PALE, WIDTH, Canvas, Color, shorten, wrapped
from lightning_posttrain.core.drawing.plot import Axes, Line, legend
from lightning_posttrain.core.drawing.table_notes import sentences
from lightning_posttrain.core.output.artifacts import Cell, Image, Table, Tagged

SHARE: Color = (120, 165, 210)
MISSING: Color = (240, 150, 105)
BEYOND: Color = (120, 190, 130)
TOP, STRIP = 92, 70
"""Where diagrams begin, and how high the rows of the bins are drawn."""
MARKS: tuple[tuple[Color, str], ...] = (
    (SHARE, "how often it came true"),
    (MISSING, "promised, and did not come true"),
    (BEYOND, "came true beyond what was promised"),
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

    A bar on the diagonal is calibrated; an orange piece is missing to it, a green one lies above. Below are the rows in
    each bin: a bar of few rows tells little.

    Args:
        report: what to draw.
        title: stands above, as ``"val"``.
    """
    panels = _panels(report)
    said = [line for note in report.notes for line in wrapped(sentences("", [note]), WIDTH - 24, 20, most=3)]
    foot = TOP + panels[0].side + 54 + STRIP + 114
    canvas = Canvas(foot + 28 * len(MARKS) + 18 + 27 * len(said) + 8)
    canvas.text(12, 10, shorten(f"{title} · reliability diagram", WIDTH - 24))
    for panel in panels:
        _draw(canvas, panel)
    legend(canvas, foot, MARKS)
    for number, line in enumerate(said):
        canvas.text(12, foot + 28 * len(MARKS) + 14 + 27 * number, line, size=20)
    return canvas.image()


def _panels(report: CalibrationReport) -> list[_Panel]:
    if report.after is None:
        return [_Panel("as the model says", report.before, 70, 500)]
    side = (WIDTH - 2 * 62 - 14) // 2
    return [
        _Panel("before", report.before, 58, side),
        _Panel(f"after {TITLES.get(report.method or '', 'adjustment')}", report.after, 58 + side + 66, side),
    ]


def _draw(canvas: Canvas, panel: _Panel) -> None:
    figures, side = panel.figures, panel.side
    width = side / len(figures.rows)
    lines = [line for row in figures.bins() for line in _bar(*row, width=width)]
    diagonal = Line((0.0, 1.0), (0.0, 1.0), INK, 1.0)
    Axes(panel.left, TOP, side, side).draw(canvas, [*lines, diagonal], x_label="predicted probability")
    canvas.text(panel.left, TOP - 14, shorten(panel.name, side), anchor="ls")
    below = TOP + side + 64
    _strip(canvas, panel, below)
    values = (("ECE", figures.ece), ("log loss", figures.log_loss))
    for number, (name, value) in enumerate(values):
        canvas.text(panel.left, below + STRIP + 30 + 28 * number, f"{name} {_written(value)}")


def _written(value: float) -> str:
    return "not defined" if math.isnan(value) else f"{value:.4f}"


def _bar(low: float, high: float, rows: int, confidence: float, accuracy: float, *, width: float) -> list[Line]:
    """The pieces of the bar of a bin: what came true, what is missing or lies above, and a line at the top."""
    if not rows:
        return []
    across = ((low + high) / 2,) * 2
    lower, upper = sorted((confidence, accuracy))
    gap = MISSING if confidence > accuracy else BEYOND
    inside = (low + 0.04 * (high - low), high - 0.04 * (high - low))
    return [
        Line(across, (0.0, lower), SHARE, width * 0.92),
        Line(across, (lower, upper), gap, width * 0.92),
        Line(inside, (accuracy, accuracy), INK, 2.0),
    ]


def _strip(canvas: Canvas, panel: _Panel, top: int) -> None:
    """The rows of each bin, and how many the fullest has."""
    rows, edges = panel.figures.rows.tolist(), panel.figures.edges.tolist()
    most = max(rows)
    for low, high, count in zip(edges[:-1], edges[1:], rows, strict=True):
        height = math.ceil(count / max(most, 1) * STRIP)
        left, right = round(low * panel.side), round(high * panel.side)
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
