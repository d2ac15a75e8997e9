"""Attributions of tabular rows: bars for the features that matter most."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import numpy as np

from lightning_posttrain.core.drawing.attribution_colors import AGAINST, FOR, STRENGTH
from lightning_posttrain.core.drawing.canvas import PALE, Canvas, Color, Pixels, name_lines, shorten, width_of, wrapped
from lightning_posttrain.core.drawing.number_format import number
from lightning_posttrain.core.output.artifacts import Image
from lightning_posttrain.samples.render.captions import caption
from lightning_posttrain.samples.render.sheet import (
    EDGE,
    FINE_PRINT,
    ROOM,
    SIGNS,
    SMALL,
    Map,
    cleaned,
    empty,
    faintness,
    reason,
    sheet,
)
from lightning_posttrain.samples.result import SampleMaps

ROWS = 8
BLOCK = 3
"""Methods side by side."""
NUMBER, STEP, MORE = 74, 30, 21
WIDTHS = {0: 0, 1: 300, 2: 180, 3: 140}
"""Of a method's column, by how many there are side by side."""
LINE: Color = (228, 230, 233)


def features_image(saliency: SampleMaps, *, title: str = "") -> Image:
    """Draw a bar for each of the features with the largest attributions, at most eight a sample."""
    maps = {name: cleaned(values) for name, values in saliency.maps.items()}
    pieces = []
    for row, sample in enumerate(saliency.samples):
        by = ranking(saliency, row)
        strength = np.abs(maps[by][row]) if by else np.zeros(saliency.shown.shape[1], np.float32)
        chosen = np.argsort(-strength, kind="stable")[:ROWS].tolist()
        pieces.append(caption(sample, "on average"))
        methods = list(maps)
        for start in range(0, max(len(methods), 1), BLOCK):
            pieces.append(_block(saliency, row, chosen, {name: maps[name] for name in methods[start : start + BLOCK]}))
        pieces.append(_rest(strength, chosen))
    return sheet(saliency, pieces, _said(saliency), title=title)


def ranking(saliency: SampleMaps, row: int) -> str | None:
    """The method by which features are chosen: the first with a sign whose map is not refused, else the first."""
    sound = [name for name in saliency.maps if not reason(saliency, name, row)] or list(saliency.maps)
    return next((name for name in sound if name in saliency.signed), sound[0] if sound else None)


def _block(saliency: SampleMaps, row: int, chosen: Sequence[int], maps: dict[str, Map]) -> Pixels:
    width, room = _widths(saliency)
    titles = [wrapped(saliency.titles[name], width - 10, SMALL, most=2) for name in maps]
    entries = [_entry(saliency, row, feature, room - 14) for feature in chosen]
    head = 6 + 23 * max(map(len, titles), default=0)
    ends = [head, *(head + end for end in accumulate(STEP + MORE * (len(lines) - 1) for lines in entries))]
    canvas = Canvas(ends[-1] + 4)
    for top, end, lines in zip(ends, ends[1:], entries, strict=False):
        canvas.box(EDGE, top, ROOM, 1, LINE)
        for place, text in enumerate(lines):
            y = (top + end) / 2 + MORE * (place - (len(lines) - 1) / 2)
            canvas.text(EDGE, y, text, size=SMALL, anchor="lm")
    for column, (name, lines) in enumerate(zip(maps, titles, strict=True)):
        left = EDGE + room + column * width
        for up, text in enumerate(reversed(lines)):
            canvas.text(left, head - 7 - 23 * up, text, size=SMALL, anchor="ls", color=PALE)
        _column(canvas, saliency, name, row, values=maps[name], chosen=chosen, ends=ends, place=(left, width - 10))
    return canvas.pixels()


def _widths(saliency: SampleMaps) -> tuple[int, int]:
    """Of a method's column, and of the names beside the columns."""
    count = min(len(saliency.maps), BLOCK)
    return WIDTHS[count], ROOM - count * WIDTHS[count]


def _entry(saliency: SampleMaps, row: int, feature: int, room: float) -> list[str]:
    """A name and its value, in two lines at most."""
    name = saliency.names[feature] if saliency.names else f"feature {feature}"
    value = f" = {number(float(saliency.shown[row, feature]))}"
    lines = name_lines(name, room, SMALL)
    if width_of(lines[-1] + value, SMALL) <= room:
        return [*lines[:-1], lines[-1] + value]
    if len(lines) == 1:
        return [*lines, value.lstrip()]
    return [lines[0], shorten(lines[1], room - width_of(value, SMALL), SMALL) + value]


def _column(
    canvas: Canvas, saliency: SampleMaps, name: str, row: int, *,
    values: Map, chosen: Sequence[int], ends: Sequence[int], place: tuple[int, int],
) -> None:  # fmt: skip
    left, width = place
    top, height = ends[0], ends[-1] - ends[0]
    why = reason(saliency, name, row) or ("" if values[row].any() else "all zero")
    if why:
        canvas.paste(left, top + 4, empty(why, height - 8, width))
        return
    alike = [at for at in range(len(values)) if not reason(saliency, name, at)] if saliency.shared_scale else [row]
    most = max(float(np.abs(values[alike]).max()), saliency.least_scale if saliency.shared_scale else 0.0)
    signed = name in saliency.signed
    zero, room = (left + width // 2, width // 2) if signed else (left, width - NUMBER)
    for line, feature in enumerate(chosen):
        middle = (ends[line] + ends[line + 1]) // 2
        _bar(canvas, float(values[row, feature]), most=most, signed=signed, place=(zero, middle, room))
    canvas.box(zero, top, 1, height, PALE)


def _bar(canvas: Canvas, value: float, *, most: float, signed: bool, place: tuple[int, int, int]) -> None:
    """A bar from zero, and its number: on the other side of zero for those with a sign, else behind the bar."""
    zero, middle, room = place
    length = round(abs(value) / most * room)
    left = signed and value < 0
    color = STRENGTH if not signed else AGAINST if left else FOR
    if length:
        canvas.box(zero - length if left else zero, middle - STEP // 2 + 5, length, STEP - 9, color)
    x, anchor = (zero + 7, "lm") if left else (zero - 6, "rm") if signed else (zero + length + 6, "lm")
    canvas.text(x, middle, number(value, 2), size=FINE_PRINT, anchor=anchor)


def _rest(strength: Map, chosen: Sequence[int]) -> Pixels:
    others = len(strength) - len(chosen)
    canvas = Canvas(28 if others else 8)
    if others:
        share = 1 - float(strength[list(chosen)].sum()) / (float(strength.sum()) or 1.0)
        text = f"and {others} more, with {share:.0%} of the magnitude" if strength.any() else f"and {others} more"
        canvas.text(EDGE, 2, text, size=FINE_PRINT, color=PALE)
    return canvas.pixels()


def _said(saliency: SampleMaps) -> list[str]:
    signs = [SIGNS] if saliency.signed & set(saliency.maps) else []
    over = "of all samples" if saliency.shared_scale else "of its sample"
    least = f", at least {number(saliency.least_scale)}" if faintness(saliency) else ""
    return [*signs, f"The longest bar of a method is the largest magnitude {over}{least}."] if saliency.maps else signs
