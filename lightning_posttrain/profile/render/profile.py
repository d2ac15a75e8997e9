"""What a model costs and where its run's seconds went, at a glance."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from lightning_posttrain.core.drawing.canvas import PALE, WIDTH, Canvas, Color, shorten, width_of
from lightning_posttrain.core.drawing.number_format import share, share_bar
from lightning_posttrain.core.drawing.plot import COLORS
from lightning_posttrain.core.drawing.sheet import EDGE, HEAD, SMALL, sheet
from lightning_posttrain.core.output.artifacts import File, Image, Tagged
from lightning_posttrain.core.output.quantities import duration, scaled
from lightning_posttrain.profile.blocks import BlockCost, blocks_of
from lightning_posttrain.profile.clock.spent import NO_PART, Spent
from lightning_posttrain.profile.counting import architecture_text
from lightning_posttrain.profile.render.tables import architecture_table, figures_table, seconds_table
from lightning_posttrain.profile.result import ProfileReport

ROW, BAR, LEFT, VALUE = 44, 14, 300, 136
PARAMETERS, FLOPS = COLORS[0], COLORS[1]
KINDS: dict[str, Color] = {"callback": COLORS[4], "step": COLORS[0], "data": COLORS[8], "reading": COLORS[6]}
OTHER: Color = (150, 156, 164)
MOST = 10
"""Rows of seconds."""


def profile_artifacts(report: ProfileReport, *, tag: str, title: str) -> Iterator[Tagged]:
    """The picture, the tables, and the architecture as text, under tags that begin with ``tag``."""
    yield Tagged(tag, profile_image(report, title))
    yield Tagged(f"{tag}/figures", figures_table(report))
    if report.architecture is not None:
        yield Tagged(f"{tag}/architecture_table", architecture_table(report.architecture))
        yield Tagged(f"{tag}/architecture", File(f"{architecture_text(report.architecture)}\n".encode(), ".txt"))
    if report.spent:
        yield Tagged(f"{tag}/seconds", seconds_table(report))


class _Bars(NamedTuple):
    name: str
    bars: Sequence[tuple[float, str, Color]]


def profile_image(report: ProfileReport, title: str = "") -> Image:
    """Draw shares of parameters and FLOPs by block, and shares of the run's seconds.

    Args:
        report: what to draw.
        title: stands above, as ``"test"``.
    """
    parts = [*_blocks(report), *_seconds(report)]
    heights = [sum(_height(row) for row in rows) + 62 for _, rows in parts]

    def draw(canvas: Canvas) -> None:
        top = HEAD
        for (head, rows), height in zip(parts, heights, strict=True):
            canvas.text(EDGE, top + 8, shorten(head, WIDTH - 2 * EDGE, SMALL), size=SMALL)
            _rows(canvas, rows, top + 48)
            top += height

    entries = [(PARAMETERS, "share of the parameters"), (FLOPS, "share of the FLOPs")] if _blocks(report) else []
    return sheet(
        f"{title} · what the model costs", _headline(report), sum(heights), draw, entries=entries, note=_note(report)
    )


def _headline(report: ProfileReport) -> str:
    first = report.latency.get(1)
    said = [f"{scaled(report.parameters)} parameters"]
    if report.architecture is not None:
        said += [f"{scaled(report.architecture.flops)} FLOPs"]
    if first is not None:
        said += [f"{duration(first.median)} a row"]
    if report.time is not None and report.time.total:
        said += [f"{duration(report.time.total)} training"]
    return " · ".join(said)


def _note(report: ProfileReport) -> str:
    return " ".join(f"{alert[0].upper()}{alert[1:]}." for alert in report.alerts)


def _blocks(report: ProfileReport) -> list[tuple[str, list[_Bars]]]:
    if report.architecture is None:
        return []
    parameters = max(sum(row.parameters for row in report.architecture.rows), 1)
    flops, batch = max(report.architecture.total_flops, 1), report.architecture.batch
    rows = [_block(block, parameters, flops, batch) for block in blocks_of(report.architecture.rows)]
    return [(f"its {report.architecture.layers} layers, by block", rows)]


def _block(block: BlockCost, parameters: int, flops: int, batch: int) -> _Bars:
    name = " ".join(filter(None, (block.name or "(itself)", block.kind)))
    return _Bars(name, (
        (block.parameters / parameters, scaled(block.parameters), PARAMETERS),
        (block.flops / flops, scaled(block.flops / batch), FLOPS),
    ))  # fmt: skip


def _seconds(report: ProfileReport) -> list[tuple[str, list[_Bars]]]:
    rows = [row for row in report.spent if row.kind not in NO_PART]
    if not rows:
        return []
    shown, rest = rows[:MOST], rows[MOST:]
    if rest:
        sums = (sum(row.seconds for row in rest), 0, sum(row.share for row in rest))
        shown = [*shown, Spent(f"{len(rest)} others", "other", *sums)]
    return [(f"where the run's {duration(report.wall)} went", list(map(_second, shown)))]


def _second(row: Spent) -> _Bars:
    value = f"{duration(row.seconds)} · {share(row.share)}"
    return _Bars(row.name, ((row.share, value, KINDS.get(row.kind, OTHER)),))


def _height(row: _Bars) -> int:
    return max(ROW, 24 * len(row.bars) + 12) if len(row.bars) > 1 else 36


def _rows(canvas: Canvas, rows: Sequence[_Bars], top: int) -> None:
    wide = WIDTH - LEFT - VALUE - EDGE - 12
    for row in rows:
        height = _height(row)
        middle = top + height / 2
        room = LEFT - EDGE - 14
        canvas.name(LEFT - 14, middle, row.name, room, size=SMALL if width_of(row.name, SMALL) <= room else 17)
        for place, (part, value, color) in enumerate(row.bars):
            y = middle + 22 * (place - (len(row.bars) - 1) / 2)
            share_bar(canvas, (LEFT, round(y - BAR / 2), wide, BAR), part, color)
            canvas.text(LEFT + wide + 12, y, value, size=18, anchor="lm", color=PALE)
        top += height
