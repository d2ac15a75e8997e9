"""Attribution maps as pixels: their colours, their size, and the picture that one is laid over."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PILImage

from lightning_posttrain.core.drawing.attribution_colors import AGAINST, FOR
from lightning_posttrain.core.drawing.canvas import Color, Pixels, colored, resized
from lightning_posttrain.samples.render.sheet import Map, leveled

BORDER: Color = (205, 208, 212)
OUTLINE: Color = (255, 235, 59)
DENSEST, OUTLINED = 0.5, 0.2
"""How much of the picture the densest tint takes, and what share of the area is outlined."""
CLASS_ACTIVATION = ("hirescam", "gradcam", "layercam", "gradcam_plus_plus", "attention_rollout", "gradient_rollout")


def size_in(rows: int, columns: int, *, width: int, height: int, least: int = 40) -> tuple[int, int]:
    """Height and width of a picture in a box: its shape is kept, but no side is below ``least`` pixels."""
    scale = min(width / columns, height / rows)
    down, across = max(round(rows * scale), least), max(round(columns * scale), least)
    return min(down, height), min(across, width)


def reduced(maps: Map, height: int, width: int) -> Map:
    """Maps ``(K, H, W)`` with means over areas where they have more values than ``height`` × ``width`` pixels."""
    size = min(maps.shape[1], height), min(maps.shape[2], width)
    if size == maps.shape[1:]:
        return maps
    smaller: Map = np.stack([_resized(values, *size, PILImage.Resampling.BOX) for values in maps])
    return smaller


def _resized(values: Map, height: int, width: int, how: PILImage.Resampling) -> Map:
    return np.asarray(PILImage.fromarray(np.ascontiguousarray(values)).resize((width, height), how))


def picture_pixels(picture: Map, height: int, width: int) -> Pixels:
    """A picture ``(H, W, 3)`` in 0 to 1 at the size of a cell."""
    return resized((np.clip(picture, 0, 1) * np.float32(255) + np.float32(0.5)).astype(np.uint8), height, width)


def map_pixels(values: Map, scale: float, signed: bool, *, size: tuple[int, int]) -> Pixels:
    """A map in colours, at a height and width; white at 0 where it has a sign, else dark."""
    levels = leveled(values, scale)
    colors = colored((levels + 1) / 2, "RdBu_r") if signed else colored(levels, "viridis")
    return resized(colors, *size)


def overlay_pixels(picture: Pixels, values: Map, scale: float, signed: bool) -> Pixels:
    """A map over a grey picture, which stays to be seen: a tint, the denser the larger its magnitude, and an outline.

    The outline is around the fifth of the area where the magnitude is largest.
    """
    height, width = picture.shape[:2]
    levels = _resized(leveled(values, scale), height, width, PILImage.Resampling.BICUBIC)
    sizes = np.abs(levels)
    opacity = (DENSEST * np.clip(sizes, 0, 1) ** 1.5)[..., None]
    gray = picture.mean(axis=2, keepdims=True, dtype=np.float32)
    if signed:
        color = np.where(levels[..., None] >= 0, np.array(FOR, np.float32), np.array(AGAINST, np.float32))
    else:
        color = colored(levels, "inferno").astype(np.float32)
    mixed: Pixels = np.round(gray + opacity * (color - gray)).astype(np.uint8)
    mixed[_outline(sizes)] = OUTLINE
    return mixed


def _outline(sizes: Map) -> NDArray[np.bool_]:
    """The inner edge of where ``sizes (H, W)`` are among the largest fifth; none where they are all alike."""
    top = sizes > np.quantile(sizes, 1 - OUTLINED)
    inside = np.pad(top, 1, constant_values=True)
    deep = inside[:-2, 1:-1] & inside[2:, 1:-1] & inside[1:-1, :-2] & inside[1:-1, 2:]
    edge: NDArray[np.bool_] = top & ~deep
    return edge


def framed(pixels: Pixels, height: int, width: int) -> Pixels:
    """``pixels`` with a thin border, at the left of a white cell and half way up."""
    cell = np.full((height, width, 3), 255, dtype=np.uint8)
    top = (height - pixels.shape[0]) // 2
    inner = cell[top : top + pixels.shape[0], : pixels.shape[1]]
    inner[:] = pixels
    inner[[0, -1]] = BORDER
    inner[:, [0, -1]] = BORDER
    return cell
