"""Maps of whole parts of an image: laid over it, with the borders of the parts, at the size they are drawn in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from lightning_posttrain.core.drawing.attribution_colors import AGAINST, FOR, STRENGTH
from lightning_posttrain.core.drawing.canvas import INK, Canvas, Color, Pixels, width_of
from lightning_posttrain.samples.render.sheet import Map, leveled
from lightning_posttrain.samples.result import SampleMaps

Mask: TypeAlias = NDArray[np.bool_]
Any2d = TypeVar("Any2d", NDArray[np.int64], Map)

PALENESS = {"map": 0.6, "rule": 0.75}
"""How far the picture behind goes to white."""
BORDER, WHITE = (255, 214, 0), (255, 255, 255)


def enlarged(values: Any2d, height: int, width: int) -> Any2d:
    """Values ``(H, W)`` at another size, each pixel the one that its centre lies in.

    Example:
        >>> enlarged(np.array([[1, 2]]), 2, 4).tolist()
        [[1, 1, 2, 2], [1, 1, 2, 2]]
    """
    rows, columns = (
        (2 * np.arange(new) + 1) * old // (2 * new) for new, old in zip((height, width), values.shape, strict=True)
    )
    larger: Any2d = values[rows[:, None], columns]
    return larger


def borders(labels: NDArray[np.generic]) -> Mask:
    """Where labels ``(H, W)`` have a neighbour with another."""
    edges = np.zeros(labels.shape, dtype=np.bool_)
    across, down = labels[:, 1:] != labels[:, :-1], labels[1:] != labels[:-1]
    for here, apart in ((np.s_[:, 1:], across), (np.s_[:, :-1], across), (np.s_[1:], down), (np.s_[:-1], down)):
        edges[here] |= apart
    return edges


def lined(pixels: Pixels, edges: Mask, color: Color = BORDER, opacity: float = 0.7) -> Pixels:
    """Pixels with a line where there are edges."""
    return _mixed(pixels, np.array(color), np.where(edges, opacity, 0)[..., None])


def region_pixels(picture: Pixels, values: Map, edges: Mask, *, scale: float, signed: bool) -> Pixels:
    """A map over a pale grey picture, the denser the larger its magnitude, with the borders of the regions."""
    levels = enlarged(leveled(values, scale), *edges.shape)[..., None]
    color = np.where(levels >= 0, np.array(FOR), np.array(AGAINST)) if signed else np.array(STRENGTH)
    mixed = _mixed(_pale(picture, PALENESS["map"]), color, 0.85 * np.abs(levels))
    return lined(mixed, edges, WHITE, 0.65)


def rule_pixels(picture: Pixels, values: Map, edges: Mask) -> Pixels:
    """A picture of which the parts of a rule are left as they are, with a strong outline, and the rest is paled."""
    kept = enlarged(values, *edges.shape) > 0.5
    rest = lined(_pale(picture, PALENESS["rule"]), edges, WHITE, 0.55)
    pixels = np.where(kept[..., None], picture, rest).astype(np.uint8)
    outline = borders(np.pad(kept, 1))[1:-1, 1:-1]
    return lined(lined(pixels, _grown(_grown(outline)), WHITE, 1), _grown(outline), INK, 1)


def marked(pixels: Pixels, labels: NDArray[np.int64], marks: Mapping[int, str]) -> Pixels:
    """Pixels ``(H, W, 3)`` with a text in the middle of some of the parts ``labels (H, W)``, by their number."""
    if not marks:
        return pixels
    canvas = Canvas(*pixels.shape[:2])
    canvas.paste(0, 0, pixels)
    for part, text in marks.items():
        inside = labels == part
        if inside.any():
            row, column, depth = _middle(inside)
            size = 18 if width_of(text, 18) <= 2 * depth + 12 else 15
            edge = width_of(text, size) / 2 + 3
            across = min(max(column, edge), pixels.shape[1] - edge)
            down = min(max(row, size), pixels.shape[0] - size)
            canvas.text(across, down, text, size=size, anchor="mm", color=INK, halo=WHITE)
    return canvas.pixels()


def _middle(inside: Mask) -> tuple[int, int, int]:
    """The row and column that are farthest from the border of a region, and how far they are."""
    depth, deepest = 0, inside
    while inside.any():
        depth, deepest = depth + 1, inside
        inside = ~_grown(np.pad(~inside, 1, constant_values=True))[1:-1, 1:-1]
    places = np.argwhere(deepest)
    nearest = np.abs(places - places.mean(0)).sum(1).argmin()
    row, column = places[nearest].tolist()
    return row, column, depth


def region_remarks(saliency: SampleMaps) -> list[str]:
    """Sentences on what is drawn of regions."""
    if saliency.regions is None:
        return []
    return ["Thin lines are the borders of the parts."]


def _mixed(pixels: Pixels, color: NDArray[np.generic], opacity: NDArray[np.floating]) -> Pixels:
    mixed: Pixels = np.round(pixels + opacity * (color.astype(np.float32) - pixels)).astype(np.uint8)
    return mixed


def _pale(picture: Pixels, paleness: float) -> Pixels:
    """A picture in grey, so far on the way to white."""
    gray = picture.mean(axis=2, keepdims=True).repeat(3, axis=2)
    pixels: Pixels = np.round(gray + paleness * (255 - gray)).astype(np.uint8)
    return pixels


def _grown(edges: Mask) -> Mask:
    """Edges one pixel thicker on each side."""
    wide = np.pad(edges, 1)
    grown: Mask = wide[1:-1, 1:-1] | wide[:-2, 1:-1] | wide[2:, 1:-1] | wide[1:-1, :-2] | wide[1:-1, 2:]
    return grown
