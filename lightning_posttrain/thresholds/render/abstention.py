"""How many errors are left when a classifier answers only where it is sure."""

from __future__ import annotations

from lightning_posttrain.core.drawing.canvas import INK, PALE, WIDE, Canvas, shorten, wrapped
from lightning_posttrain.core.drawing.plot import COLORS, Axes, Line, legend
from lightning_posttrain.core.drawing.table_notes import sentences
from lightning_posttrain.core.output.artifacts import Image, Table
from lightning_posttrain.core.output.result import undefined_to_none
from lightning_posttrain.thresholds.result.abstention import RiskCoverage

SMALL = 20
SIDE = 320
RISK, WANTED = COLORS[0], COLORS[1]


def risk_coverage_image(result: RiskCoverage, title: str = "") -> Image:
    """Risk against coverage, the error rate at full coverage, and the chosen point.

    Args:
        result: what to draw.
        title: stands above, as ``"val"``.
    """
    said = wrapped(_said(result), WIDE[0] - 32, SMALL, most=8)
    entries = [(RISK, f"errors among the rows answered; mean (AURC) {result.aurc:.4f}")]
    entries.append((PALE, f"errors if all rows are answered: {_percent(result.error_rate)}"))
    if result.max_risk is not None:
        entries.append((WANTED, f"errors that are wanted at most: {_percent(result.max_risk)}"))
    entries = entries if result.rows else []
    foot = 92 + SIDE + 72 if result.rows else 60
    canvas = Canvas(foot + 30 * len(entries) + 14 + 28 * len(said) + 12, WIDE[0])
    canvas.text(12, 10, shorten(f"{title} · risk and coverage" if title else "risk and coverage", WIDE[0] - 24))
    if result.rows:
        axes = Axes(84, 92, WIDE[0] - 108, SIDE, (-0.01, 1.02), (-0.03 * _top(result), _top(result)))
        axes.draw(canvas, _lines(result, axes), x_label="coverage: share of rows that are answered", y_label="risk")
    legend(canvas, foot, entries, size=SMALL, step=30)
    for number, line in enumerate(said):
        canvas.text(16, foot + 30 * len(entries) + 14 + 28 * number, line, size=SMALL)
    return canvas.image()


def _lines(result: RiskCoverage, axes: Axes) -> list[Line]:
    rate = result.error_rate
    lines = [Line([0.0, 1.0], [rate, rate], PALE, 2.0)]
    if result.max_risk is not None:
        lines.append(Line([0.0, 1.0], [result.max_risk] * 2, WANTED, 2.0))
    lines.append(Line(result.coverage.tolist(), result.risk.tolist(), RISK, 4.0))
    if result.chosen is not None:
        at = result.coverage_at
        lines.append(Line([at, at], axes.y_range, INK, 1.5))
        lines.append(Line([at], [result.risk_at], INK, 6.0, dots=True))
    return lines


def _top(result: RiskCoverage) -> float:
    """Somewhat above what matters; a single error among the surest few rows would press all else flat."""
    settled = result.risk[result.coverage >= 0.03].tolist()
    return 1.12 * max(result.error_rate, result.max_risk or 0.0, *settled) or 0.01


def _said(result: RiskCoverage) -> str:
    if not result.rows:
        return "No rows were counted."
    first = ""
    if result.chosen is not None and result.coverage_at > 0:
        coverage, risk, upper = map(_percent, (result.coverage_at, result.risk_at, result.risk_upper))
        first = (
            f"All rows are answered, {risk} of them wrongly (95 % upper bound {upper})."
            if result.coverage_at == 1
            else f"With a confidence of {result.chosen:.4g} or more {coverage} of the rows are answered, "
            f"{risk} of them wrongly (95 % upper bound {upper})."
        )
    elif result.chosen is not None:
        first = f"No row has a confidence of {result.chosen:.4g} or more."
    return sentences(first, result.notes).strip()


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"


def risk_coverage_table(result: RiskCoverage) -> Table:
    """Points of the curve, for a program or a plot of one's own."""
    columns = (undefined_to_none(values) for values in (result.threshold, result.coverage, result.risk))
    return Table(("threshold", "coverage", "risk"), tuple(zip(*columns, strict=True)), files_only=True)
