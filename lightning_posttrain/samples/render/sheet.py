"""What the pictures of attribution maps share: captions, scales, colours, and the sheet they stand on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from lightning_posttrain.core.drawing.attribution_colors import AGAINST, EMPTY, FOR, STRENGTH
from lightning_posttrain.core.drawing.canvas import INK, PALE, WIDTH, Canvas, Color, Pixels, shorten, width_of, wrapped
from lightning_posttrain.core.drawing.number_format import number
from lightning_posttrain.core.output.artifacts import Image
from lightning_posttrain.samples.result import SampleMaps

Map: TypeAlias = NDArray[np.float32]

EDGE = 8
ROOM = WIDTH - 2 * EDGE
SMALL, FINE_PRINT = 19, 17
LABEL, MARGIN = 28, 10
RIGHT, WRONG = (24, 128, 56), (197, 34, 31)
SIGNS = "Red speaks for what is explained, blue against it."
RULE = "anchors"
"""Name of the maps that are 1 at the parts of a rule and 0 elsewhere: they have no strength."""
NO_PART = "no part is needed for this class"
STRENGTHS = "One colour alone is strength without a direction."
OUTPUT_SIGNS = "Red raises the output, blue lowers it, against the baseline."


def sheet(saliency: SampleMaps, pieces: Iterable[Pixels], said: Sequence[str], *, title: str, axes: str = "") -> Image:
    """``pieces``, each ``WIDTH`` wide, one below the other between a head and the sentences of the foot."""
    heading = _question(saliency)
    head = [heading_pixels(f"{title} · {heading}" if title else heading, axes), *verdicts(saliency.verdicts)]
    return stacked([*head, *pieces, foot([*saliency.said, *said, *remarks(saliency)])])


def verdicts(said: Sequence[str]) -> Iterator[Pixels]:
    """What is to be known before a picture is looked at, in red above it; nothing where there is none."""
    if said:
        yield foot((), warned=[f"{text[0].upper()}{text[1:].rstrip('.')}." for text in said])


def stacked(pieces: Iterable[Pixels]) -> Image:
    """Pictures of one width as one."""
    return Image(torch.from_numpy(np.concatenate(list(pieces))))


def heading_pixels(heading: str, axes: str = "") -> Pixels:
    """The line above a picture; ``axes`` stands at its right."""
    canvas = Canvas(44)
    canvas.text(EDGE, 10, shorten(heading, ROOM - (width_of(axes, SMALL) + 20 if axes else 0)))
    canvas.text(WIDTH - EDGE, 12, axes, size=SMALL, anchor="ra", color=PALE)
    return canvas.pixels()


def _question(saliency: SampleMaps) -> str:
    plain = all(sample.explained == sample.predicted for sample in saliency.samples)
    return "why the predicted class?" if plain else "why this output?"


def remarks(saliency: SampleMaps) -> list[str]:
    """Sentences below any picture of this result, the methods that are missing among them."""
    said = [f"Class activation maps are of layer {saliency.layer}."] if saliency.layer else []
    if any(rows for name, rows in saliency.refused.items() if name != RULE):
        said.append("A grey box with a reason: that map is known to be wrong.")
    said += faintness(saliency)
    broken = [saliency.titles[name] for name, maps in saliency.maps.items() if not is_finite(maps.numpy())]
    said += [f"{title} has values that are not finite; they are drawn as 0." for title in broken]
    said += [saliency.colors] if saliency.colors else []
    return [*said, *(f"{note}." for note in saliency.notes if note not in saliency.verdicts)]


def faintness(saliency: SampleMaps) -> list[str]:
    """A sentence on methods whose largest value is below the least scale: what they say is next to nothing."""
    sizes = {name: _largest(saliency, name) for name in saliency.maps if name != RULE}
    faint = {name: size for name, size in sizes.items() if size < saliency.least_scale}
    if not faint:
        return []
    which = "" if len(faint) == len(sizes) else f"{', '.join(saliency.titles[name] for name in faint)}: "
    part = "value" if saliency.kind == "tabular" else "part"
    most = max(faint.values())
    changes = f"hardly changes the probability (by at most {number(most, 2)})" if most else "changes no probability"
    return [f"{which}Hiding a {part} {changes}: try output='logit'."]


def _largest(saliency: SampleMaps, name: str) -> float:
    kept = [row for row in range(len(saliency.maps[name])) if not reason(saliency, name, row)]
    return float(np.abs(cleaned(saliency.maps[name][kept])).max(initial=0))


def foot(said: Iterable[str], warned: Iterable[str] = ()) -> Pixels:
    """Sentences, each wrapped and none cut; those of ``warned`` come first, in red."""
    lines: list[tuple[str, Color]] = [(line, WRONG) for text in warned for line in whole(text, ROOM, SMALL)]
    lines += [(line, PALE) for text in said for line in whole(text, ROOM, SMALL)]
    canvas = Canvas(16 + 26 * len(lines))
    for place, (line, color) in enumerate(lines):
        canvas.text(EDGE, 6 + 26 * place, line, size=SMALL, color=color)
    return canvas.pixels()


def whole(text: str, room: float, size: int) -> list[str]:
    """``text`` in as many lines as it takes; a word that is wider than ``room`` pixels is broken."""
    words = [piece for word in text.split() for piece in _broken(word, room, size)]
    return wrapped(" ".join(words), room, size, most=len(words) + 1)


def _broken(word: str, room: float, size: int) -> list[str]:
    if width_of(word, size) <= room or len(word) < 2:
        return [word]
    return [piece for half in (word[: len(word) // 2], word[len(word) // 2 :]) for piece in _broken(half, room, size)]


def empty(text: str, height: int, width: int) -> Pixels:
    """A pale box with ``text`` in its middle, in place of a map."""
    canvas = Canvas(height, width, color=EMPTY)
    most = max(height // 22, 1)
    lines = whole(text, width - MARGIN, FINE_PRINT)
    lines = lines if len(lines) <= most else wrapped(text, width - MARGIN, FINE_PRINT, most=most)
    for place, line in enumerate(lines):
        y = height / 2 + 22 * (place - (len(lines) - 1) / 2)
        canvas.text(width / 2, y, line, size=FINE_PRINT, anchor="mm", color=INK)
    return canvas.pixels()


def label(title: str, scale: str) -> Pixels:
    """The line above a map as wide as the sheet: the method, and at the right its scale."""
    canvas = Canvas(LABEL)
    canvas.text(EDGE, LABEL - 8, shorten(title, ROOM - 160, SMALL), size=SMALL, anchor="ls", color=PALE)
    canvas.text(WIDTH - EDGE, LABEL - 8, scale, size=FINE_PRINT, anchor="rs", color=PALE)
    return canvas.pixels()


def map_label(saliency: SampleMaps, name: str, row: int, *, values: Map, scale: float) -> Pixels:
    """That line for a map: without its scale where the foot says it, and where the map is refused."""
    if reason(saliency, name, row):
        return label(saliency.titles[name], "")
    if not values.any():
        return label(saliency.titles[name], NO_PART if name == RULE else "all zero")
    said = "" if saliency.shared_scale or name == RULE else scale_text(scale, name in saliency.signed)
    return label(saliency.titles[name], said)


def cleaned(values: torch.Tensor) -> Map:
    """Maps as an array, with 0 for what is not finite."""
    array: Map = values.float().numpy()
    return array if is_finite(array) else np.nan_to_num(array, nan=0.0, posinf=0.0, neginf=0.0)


def is_finite(values: Map) -> bool:
    """Whether every value is: where the sum is, which costs little; else they are looked at one by one."""
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(values.sum()) or np.isfinite(values).all())


def scales(saliency: SampleMaps, maps: Mapping[str, Iterable[Map]]) -> dict[str, list[float]]:
    """What full colour stands for, by method and sample; one for all samples where they share it."""
    return {name: _of_method(saliency, name, list(values)) for name, values in maps.items()}


def _of_method(saliency: SampleMaps, name: str, rows: list[Map]) -> list[float]:
    if not saliency.shared_scale:
        return [scale_of(values) for values in rows]
    kept = [values.ravel() for row, values in enumerate(rows) if not reason(saliency, name, row)]
    scale = scale_of(np.concatenate(kept)) if kept else 0.0
    return [max(scale, saliency.least_scale) if scale else 0.0] * len(rows)


def scale_of(values: Map) -> float:
    """The 99th percentile of magnitudes, so that one hot pixel hides no others; their largest where that is 0."""
    sizes = np.abs(values)
    return float(np.quantile(sizes, 0.99)) or float(sizes.max()) if sizes.size else 0.0


def reason(saliency: SampleMaps, method: str, row: int) -> str | None:
    """Why the map of a sample is refused, or None."""
    return saliency.refused.get(method, {}).get(row)


def scale_text(scale: float, signed: bool) -> str:
    """What full colour stands for.

    Example:
        >>> scale_text(0.0312, signed=True), scale_text(0.0312, signed=False), scale_text(0.0, signed=True)
        ('±0.0312', '0–0.0312', 'all zero')
    """
    if not scale:
        return "all zero"
    return f"±{number(scale)}" if signed else f"0–{number(scale)}"


def scale_remark(saliency: SampleMaps, shown: Mapping[str, list[float]], where: str = "below each map") -> list[str]:
    """The sentence on signs, and that on scales."""
    shown = {name: rows for name, rows in shown.items() if name != RULE}
    maps = saliency.maps.keys() - {RULE}
    of_output = any(sample.predicted is None for sample in saliency.samples)
    signs = [OUTPUT_SIGNS if of_output else SIGNS] if saliency.signed & maps else []
    signs += [STRENGTHS] if maps - saliency.signed else []
    if not shown:
        return signs
    if not saliency.shared_scale:
        return [*signs, f"Full colour is the number {where}: 99 % of its values lie below."]
    each = [
        f"{saliency.titles[name]} {scale_text(rows[0], name in saliency.signed)}"
        for name, rows in shown.items()
        if rows
    ]
    return [*signs, f"Each method has one scale for all samples: {'; '.join(each)}."]


def shaded(levels: Map, signed: bool) -> Pixels:
    """Levels in -1 to 1, of any shape, as red, white and blue, or in 0 to 1 from white to orange."""
    full = np.where(levels[..., None] >= 0, FOR, AGAINST) if signed else np.array(STRENGTH)
    strength = np.clip(np.abs(levels), 0, 1)[..., None]
    pixels: Pixels = np.round(255 + (full - 255) * strength).astype(np.uint8)
    return pixels


def leveled(values: Map, scale: float) -> Map:
    """Values over their scale, in -1 to 1."""
    levels: Map = np.clip(values / np.float32(scale or 1.0), -1, 1)
    return levels
