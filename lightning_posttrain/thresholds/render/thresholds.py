"""What thresholds change: of one label along its curve, of many as a row each."""

from __future__ import annotations

import math

import torch

from lightning_posttrain.core.drawing.canvas import INK, PALE, TEXT, WIDTH, Canvas, Color, shorten, width_of, wrapped
from lightning_posttrain.core.drawing.plot import COLORS, Axes, Line, Marks, legend
from lightning_posttrain.core.drawing.table_notes import sentences
from lightning_posttrain.core.output.artifacts import Image, Table
from lightning_posttrain.core.output.result import undefined_to_none
from lightning_posttrain.thresholds.result.thresholds import COST, ObjectiveCurve, Operating, ThresholdReport

BETTER, WORSE, PRECISION, RECALL = COLORS[0], COLORS[1], COLORS[2], COLORS[4]
FAINT: Color = (178, 184, 190)
ROW, NAMES = 36, 210
THRESHOLDS = (0.0001, 0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999, 0.9999)
SMALL = 20


def thresholds_image(report: ThresholdReport, title: str = "", *, limit: int = 20) -> Image:
    """The objective at 0.5 and at the thresholds; of one label along its whole curve.

    Args:
        report: what to draw.
        title: stands above, as ``"val"``.
        limit: how many labels at most, those with the largest gain.
    """
    heading = f"{title} · " if title else ""
    if len(report.class_names) == 1 and report.curves:
        return _curve_image(report, heading)
    return _labels_image(report, heading, limit)


def _said(report: ThresholdReport) -> list[str]:
    """What stands below a picture, in lines."""
    said = sentences(f"{report.said[0].upper()}{report.said[1:]}." if report.said else "", report.notes).strip()
    return wrapped(said, WIDTH - 32, SMALL, most=8)


def _write(canvas: Canvas, top: int, lines: list[str]) -> None:
    canvas.lines(16, top, lines, 28, size=SMALL, color=INK)


def _curve_image(report: ThresholdReport, heading: str) -> Image:
    curve, said = report.curves[0], _said(report)
    entries = _entries(report)
    side = 400
    foot = 96 + side + 72
    canvas = Canvas(foot + 30 * len(entries) + 14 + 28 * len(said) + 12)
    canvas.text(12, 10, shorten(f"{heading}{report.class_names[0]}: {report.objective}", WIDTH - 24))
    marked = [0.5, *([float(report.tuned.threshold[0])] if report.tuned else [])]
    axes = Axes(84, 92, WIDTH - 108, side, _x_range(marked), _y_range(report, curve), x_marks=_marks(marked))
    axes.draw(canvas, _lines(report, axes), x_label="threshold", y_label=report.figure)
    legend(canvas, foot, entries, size=SMALL, step=30)
    _write(canvas, foot + 30 * len(entries) + 14, said)
    return canvas.image()


def _lines(report: ThresholdReport, axes: Axes) -> list[Line]:
    """The curves, then both thresholds with a dot on the curve."""
    curve = report.curves[0]
    x = [_odds(t) for t in curve.threshold.tolist()]
    lines = [
        *(Line(x, values.tolist(), color, 1.5) for values, color, _ in _thin(report, curve)),
        Line(x, curve.value.tolist(), BETTER, 4.0),
    ]
    places = [(0.5, float(report.default.objective[0]), PALE)]
    if report.tuned is not None:
        threshold = float(report.tuned.threshold[0])
        places.append((threshold, _on_curve(curve, threshold), INK))
    for threshold, value, color in places:
        at = _odds(threshold)
        lines.append(Line([at, at], axes.y_range, color, 1.5))
        lines.append(Line([at], [value], color, 6.0, dots=True))
    return lines


def _thin(report: ThresholdReport, curve: ObjectiveCurve) -> list[tuple[torch.Tensor, Color, str]]:
    """Precision and recall, beside a figure that has their scale."""
    if report.name == COST:
        return []
    return [(curve.precision, PRECISION, "precision"), (curve.recall, RECALL, "recall")]


def _on_curve(curve: ObjectiveCurve, threshold: float) -> float:
    """The objective at the point of the curve that is nearest."""
    odds = torch.tensor([_odds(t) for t in curve.threshold.tolist()])
    return float(curve.value[(odds - _odds(threshold)).abs().argmin()])


def _entries(report: ThresholdReport) -> list[tuple[Color, str]]:
    curve = report.curves[0]
    named = [(report.figure, BETTER, "objective"), *((name, color, name) for _, color, name in _thin(report, curve))]
    # where the objective is one of the two, its line is said once
    kept = [entry for number, entry in enumerate(named) if not number or entry[0] != report.figure]
    dots = [(PALE, "threshold 0.5")]
    if report.tuned is not None:
        dots.append(
            (INK, f"threshold {_short(report.tuned.threshold[0])}{', chosen on validation' if report.frozen else ''}")
        )
    return [*((color, f"{name}: {_two(report, figure)}") for name, color, figure in kept), *dots]


def _two(report: ThresholdReport, figure: str) -> str:
    def at(point: Operating) -> str:
        value = float(getattr(point, figure)[0])
        return "not defined" if math.isnan(value) else f"{value:.4f}"

    first = f"{at(report.default)} at 0.5"
    if report.tuned is None:
        return first
    where = " on held-out rows" if report.held_out else ""
    return f"{first}, {at(report.tuned)} at {_short(report.tuned.threshold[0])}{where}"


def _odds(threshold: float) -> float:
    inside = min(max(threshold, 1e-9), 1 - 1e-9)
    return math.log(inside / (1 - inside))


def _x_range(marked: list[float]) -> tuple[float, float]:
    """From 0.001 to 0.999, the same whatever the epoch, and further where a threshold lies beyond."""
    odds = [_odds(t) for t in (0.0006, 0.9994, *marked)]
    return min(odds) - 0.3, max(odds) + 0.3


def _marks(marked: list[float]) -> Marks:
    low, high = _x_range(marked)
    return [(_odds(t), f"{t:g}") for t in THRESHOLDS if low <= _odds(t) <= high]


def _y_range(report: ThresholdReport, curve: ObjectiveCurve) -> tuple[float, float]:
    shown = torch.cat([curve.value, report.default.objective])
    finite = shown[shown.isfinite()].tolist() or [0.0]
    low, high = min(0.0, *finite, 0.0), (max(*finite, 1e-9) if report.name == COST else 1.0)
    room = 0.03 * (high - low)
    return low - room, high + room


def _labels_image(report: ThresholdReport, heading: str, limit: int) -> Image:
    chosen = _largest_gains(report, limit)
    said, names = _said(report), [report.class_names[i] for i in chosen]
    entries = _labels_entries(report, chosen)
    height = ROW * len(chosen)
    foot = 84 + height + 74 if chosen else 84
    canvas = Canvas(foot + 30 * len(entries) + 14 + 28 * len(said) + 12)
    rest = len(report.class_names) - len(chosen)
    left_out = f"; {rest} labels left out" if rest and chosen else ""
    canvas.text(12, 10, shorten(f"{heading}{report.objective} of each label{left_out}", WIDTH - 24))
    if chosen:
        left = 24 + round(min(NAMES, max(width_of(name) for name in names)))
        right = 100 if report.tuned is not None else 24
        axes = Axes(
            left, 76, WIDTH - left - right, height, _values_range(report, chosen), (len(chosen) - 0.5, -0.5), y_marks=()
        )
        axes.draw(canvas, _label_lines(report, chosen), x_label=report.figure)
        _label_texts(canvas, report, chosen, axes)
    legend(canvas, foot, entries, size=SMALL, step=30)
    _write(canvas, foot + 30 * len(entries) + 14, said)
    return canvas.image()


def _largest_gains(report: ThresholdReport, limit: int) -> list[int]:
    """Labels with a figure, the largest gains first; in their own order where there are no gains."""
    defined = [i for i, value in enumerate(report.default.objective.tolist()) if not math.isnan(value)]
    gains = report.gains.nan_to_num(-math.inf).tolist()
    return sorted(defined, key=lambda i: -gains[i])[:limit]


def _values_range(report: ThresholdReport, chosen: list[int]) -> tuple[float, float]:
    points = [report.default, *([report.tuned] if report.tuned else [])]
    shown = torch.cat([point.objective[chosen] for point in points])
    finite = shown[shown.isfinite()].tolist()
    low, high = min(0.0, *finite), (max(finite) or 1.0) if report.name == COST else 1.0
    room = 0.03 * (high - low)
    return low - room, high + room


def _label_lines(report: ThresholdReport, chosen: list[int]) -> list[Line]:
    lines = [Line([before], [y], FAINT, 6.0, dots=True) for y, before, _ in _pairs(report, chosen)]
    for y, before, after in _pairs(report, chosen):
        if report.tuned is not None:
            color = _color(report, chosen[y])
            lines.append(Line([before, after], [y, y], color, 3.0))
            lines.append(Line([after], [y], color, 6.0, dots=True))
    return lines


def _pairs(report: ThresholdReport, chosen: list[int]) -> list[tuple[int, float, float]]:
    """Row, value at 0.5 and value at the threshold."""
    tuned = report.tuned or report.default
    return [(y, float(report.default.objective[i]), float(tuned.objective[i])) for y, i in enumerate(chosen)]


def _color(report: ThresholdReport, label: int) -> Color:
    gain = float(report.gains[label])
    return FAINT if gain == 0 else BETTER if gain > 0 else WORSE


def _label_texts(canvas: Canvas, report: ThresholdReport, chosen: list[int], axes: Axes) -> None:
    """Names to the left, thresholds to the right."""
    if report.tuned is not None:
        canvas.text(WIDTH - 16, axes.top - 8, "threshold", size=SMALL, anchor="rs")
    for y, label in enumerate(chosen):
        middle = axes.top + (y + 0.5) * ROW
        canvas.text(axes.left - 10, middle, shorten(report.class_names[label], NAMES), anchor="rm")
        if report.tuned is not None:
            canvas.text(WIDTH - 16, middle, _short(report.tuned.threshold[label]), size=TEXT, anchor="rm")


def _labels_entries(report: ThresholdReport, chosen: list[int]) -> list[tuple[Color, str]]:
    entries = [(FAINT, f"{report.figure} at 0.5; mean {report.default.value:.4f}")] if chosen else []
    if report.tuned is None or not chosen:
        return entries
    entries.append((BETTER, f"at the label's own threshold; mean {report.tuned.value:.4f}"))
    if any(float(report.gains[i]) < 0 for i in chosen):
        entries.append((WORSE, "the same, where it is worse"))
    return entries


def _short(value: torch.Tensor) -> str:
    number = float(value)
    return f"{number:.3f}" if 0.01 <= number <= 0.99 else f"{number:.3g}"


def thresholds_table(report: ThresholdReport) -> Table:
    """Each label: its threshold, precision and recall there, and the objective at 0.5 and there."""
    point = report.tuned or report.default
    two = (f"{report.figure} at 0.5", f"{report.figure} at threshold")
    columns = ("label", "positive rows", "threshold", "precision", "recall", *two)
    tuned = report.tuned.objective if report.tuned else torch.full_like(report.default.objective, torch.nan)
    figures = (point.threshold, point.precision, point.recall, report.default.objective, tuned)
    positives = report.positives or (None,) * len(report.class_names)
    rows = zip(report.class_names, positives, *(undefined_to_none(values) for values in figures), strict=True)
    said = f"{report.said[0].upper()}{report.said[1:]}." if report.said else ""
    return Table(columns, tuple(rows), note=sentences(said, report.notes).strip())


def curve_table(report: ThresholdReport) -> Table:
    """Points of the curves of each label, for a program or a plot of one's own."""
    rows = [
        (name, *point)
        for name, curve in zip(report.class_names, report.curves, strict=False)
        for point in zip(*(undefined_to_none(values) for values in vars(curve).values()), strict=True)
    ]
    return Table(("label", "threshold", report.figure, "precision", "recall"), tuple(rows), files_only=True)
