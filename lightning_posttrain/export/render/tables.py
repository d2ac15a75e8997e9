"""Formats beside the model that was tested, as tables."""

from __future__ import annotations

import math

from lightning_posttrain.core.drawing.table_notes import sentences
from lightning_posttrain.core.output.artifacts import Cell, Table
from lightning_posttrain.export.result import ExportReport, FormatParity, Timed

COLUMNS = (
    "format", "kept", "flips", "rows", "largest difference", "allowed", "eager, ms", "exported, ms", "size, bytes",
    "reason",
)  # fmt: skip


def formats_table(report: ExportReport) -> Table:
    """A row for each format: whether it is kept, its flips, differences, latency, size and reason."""
    return Table(COLUMNS, tuple(map(_row, report.formats)), note=sentences(f"{report.words}.", _conditions(report)))


def _row(one: FormatParity) -> tuple[Cell, ...]:
    timed = one.latency[min(one.latency)] if one.latency else None
    return (
        one.name, "yes" if one.kept else "no", one.flips if one.rows else None, one.rows,
        _cell(one.largest), _cell(one.tolerance), _milliseconds(timed, "eager"), _milliseconds(timed, "exported"),
        one.bytes, one.reason,
    )  # fmt: skip


def _conditions(report: ExportReport) -> list[str]:
    timed = [(each.exported.calls, each.exported.threads) for one in report.formats for each in one.latency.values()]
    if not timed:
        return []
    calls = sorted({calls for calls, _ in timed})
    many = f"{calls[0]} to {calls[-1]}" if len(calls) > 1 else f"{calls[0]}"
    noun = "call" if calls == [1] else "calls"
    batch, threads = min(size for one in report.formats for size in one.latency), max(threads for _, threads in timed)
    on = f"{threads} thread{'s' if threads != 1 else ''}"
    return [f"latency is the median of {many} {noun} with a batch of {batch}, on {on}"]


def latency_table(report: ExportReport) -> Table:
    """A row for each format and batch size: median and 95th percentile of both models, calls and threads."""
    rows = tuple(
        (
            one.name, size, *(_ms(value) for each in timed for value in (each.median, each.p95)),
            timed.exported.calls, timed.exported.threads,
        )
        for one in report.formats
        for size, timed in sorted(one.latency.items())
    )  # fmt: skip
    columns = (
        "format", "batch", "eager, ms", "eager p95, ms", "exported, ms", "exported p95, ms", "calls", "threads",
    )  # fmt: skip
    return Table(columns, rows, files_only=True)


def metrics_table(report: ExportReport) -> Table:
    """A row for each figure of the report: of the tested model, and of each format that was compared."""
    compared = [one for one in report.formats if one.metrics]
    names = list(dict.fromkeys(name for one in compared for name in one.metrics))
    rows = tuple((name, _tested(compared, name), *(_exported(one, name) for one in compared)) for name in names)
    return Table(("figure", "eager", *(one.name for one in compared)), rows, note=_of(compared))


def _of(compared: list[FormatParity]) -> str:
    """Whose rows figures are of."""
    stages = dict.fromkeys(
        f"{one.rows:,} {'row' if one.rows == 1 else 'rows'}{f' of {one.stage}' if one.stage else ''}"
        for one in compared
    )
    return f"Of {' and '.join(stages)}." if stages else ""


def _tested(compared: list[FormatParity], name: str) -> Cell:
    return next((_cell(one.metrics[name][0]) for one in compared if name in one.metrics), None)


def _exported(one: FormatParity, name: str) -> Cell:
    return _cell(one.metrics[name][1]) if name in one.metrics else None


def _milliseconds(timed: Timed | None, which: str) -> float | None:
    return None if timed is None else _ms(getattr(timed, which).median)


def _ms(seconds: float) -> float | None:
    return _cell(1000 * seconds)


def _cell(value: float) -> float | None:
    return value if math.isfinite(value) else None
