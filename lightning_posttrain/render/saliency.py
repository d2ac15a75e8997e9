"""Attribution maps as a grid: a row for each sample, its input, one map a method, and an overlay."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lightning_posttrain.artifacts import Image, Table
from lightning_posttrain.render.canvas import PALE, WIDTH, Canvas, Color, Pixels, colored, resized, shorten
from lightning_posttrain.results import Saliency

GAP = 8
HEAD = 104
CAPTION = 34
RIGHT, WRONG = (24, 128, 56), (197, 34, 31)


def saliency_image(saliency: Saliency, *, title: str = "") -> Image:
    """Draw the grid.

    Args:
        saliency: what to draw.
        title: stands above, as ``"val"``.
    """
    pictures = saliency.images.numpy()
    columns = len(saliency.maps) + 2
    width = (WIDTH - GAP * (columns + 1)) // columns
    height = _cell_height(pictures.shape[1], pictures.shape[2], width)
    canvas = Canvas(HEAD + len(pictures) * (height + CAPTION + GAP) + 64)
    _head(canvas, saliency, title, width)
    for i, picture in enumerate(pictures):
        top = HEAD + i * (height + CAPTION + GAP)
        _caption(canvas, saliency, i, top)
        for j, cell in enumerate(_cells(saliency, i, picture, height, width)):
            canvas.paste(GAP + j * (width + GAP), top + CAPTION, cell)
    _foot(canvas, saliency, HEAD + len(pictures) * (height + CAPTION + GAP))
    return canvas.image()


def _cell_height(rows: int, columns: int, width: int) -> int:
    return int(np.clip(width * rows / columns, width / 3, width * 1.5))


def overlaid(saliency: Saliency) -> str | None:
    """The method whose map is laid over the input: the class activation map, else the last."""
    return "grad_cam" if "grad_cam" in saliency.maps else next(reversed(saliency.maps), None)


def _head(canvas: Canvas, saliency: Saliency, title: str, width: int) -> None:
    heading = "why the predicted class?"
    canvas.text(GAP, 10, f"{title} · {heading}" if title else heading)
    titles = ["Input", *(saliency.titles[name] for name in saliency.maps)]
    over = overlaid(saliency)
    titles.append(f"Overlay {saliency.titles[over]}" if over else "")
    for j, text in enumerate(titles):
        for k, line in enumerate(_two_lines(text)):
            canvas.text(GAP + j * (width + GAP), 48 + 25 * k, shorten(line, width + GAP, 19), size=19, color=PALE)


def _two_lines(text: str) -> list[str]:
    first, _, rest = text.partition(" ")
    return [first + " ×", rest[2:]] if rest.startswith("× ") else [first, rest]


def _caption(canvas: Canvas, saliency: Saliency, i: int, top: int) -> None:
    index, actual, predicted, probability = saliency.rows()[i]
    number = "" if index is None else f"#{index}  "
    names = [shorten(name, 170) for name in (predicted, actual)]
    said = f"{number}predicted {names[0]} ({_percent(probability)}), actual {names[1]}"
    color: Color = RIGHT if actual == predicted else WRONG
    canvas.text(GAP, top + CAPTION - 8, shorten(said, WIDTH - 2 * GAP), anchor="ls", color=color)


def _percent(probability: float) -> str:
    return ">99.9%" if 0.9995 <= probability < 1 else f"{probability:.1%}"


def _cells(saliency: Saliency, i: int, picture: NDArray[np.float32], height: int, width: int) -> list[Pixels]:
    # the shape of the picture is kept, in the middle of the cell
    inner = min(width / picture.shape[1], height / picture.shape[0])
    size = max(1, round(inner * picture.shape[0])), max(1, round(inner * picture.shape[1]))
    return [_framed(cell, height, width) for cell in _pictures(saliency, i, picture, *size)]


def _framed(pixels: Pixels, height: int, width: int) -> Pixels:
    frame = np.full((height, width, 3), 255, dtype=np.uint8)
    top, left = (height - pixels.shape[0]) // 2, (width - pixels.shape[1]) // 2
    frame[top : top + pixels.shape[0], left : left + pixels.shape[1]] = pixels
    return frame


def _pictures(saliency: Saliency, i: int, picture: NDArray[np.float32], height: int, width: int) -> list[Pixels]:
    plain = resized((picture * 255).round().astype(np.uint8), height, width)
    maps = {name: values[i].numpy() for name, values in saliency.maps.items()}
    drawn = [_drawn(values, name in saliency.signed, height, width) for name, values in maps.items()]
    over = overlaid(saliency)
    return [plain, *drawn, _overlay(plain, maps[over], height, width) if over else plain]


def _drawn(values: NDArray[np.float32], signed: bool, height: int, width: int) -> Pixels:
    if not values.any():
        empty = Canvas(height, width, color=(236, 237, 239))
        empty.text(width / 2, height / 2, "all zero", size=19, anchor="mm", color=PALE)
        return empty.pixels()
    scaled = _scaled(values)
    colors = colored((scaled + 1) / 2, "RdBu_r") if signed else colored(scaled, "viridis")
    return resized(colors, height, width)


def _overlay(plain: Pixels, values: NDArray[np.float32], height: int, width: int) -> Pixels:
    strength = np.abs(_scaled(values))
    level = resized((strength * 255).round().astype(np.uint8), height, width, "smooth").astype(np.float32) / 255
    gray = plain.mean(axis=2, keepdims=True)
    opacity = 0.75 * level[..., None]
    mixed: Pixels = np.round((1 - opacity) * gray + opacity * colored(level, "inferno")).astype(np.uint8)
    return mixed


def _scaled(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Values over their 99th percentile of magnitude, in -1 to 1; one hot pixel hides no others."""
    values = np.nan_to_num(values)
    top = float(np.quantile(np.abs(values), 0.99)) or float(np.abs(values).max()) or 1.0
    scaled: NDArray[np.float32] = np.clip(values / top, -1, 1)
    return scaled


def _foot(canvas: Canvas, saliency: Saliency, top: int) -> None:
    signs = "red: for the class, blue: against; " if saliency.signed else ""
    text = f"{signs}each map on its own scale"
    canvas.text(GAP, top + 4, text, size=19, color=PALE)
    extra = [f"Grad-CAM at layer {saliency.layer}"] if saliency.layer else []
    if any(not values.flatten(1).any(dim=1).all() for values in saliency.maps.values()):
        extra.append("all zero: nothing speaks for the class")
    canvas.text(GAP, top + 32, shorten("; ".join([*extra, *saliency.notes]), WIDTH - 2 * GAP, 19), size=19, color=PALE)


def saliency_table(saliency: Saliency) -> Table:
    """The samples of the grid, from top to bottom."""
    return Table(("index", "actual", "predicted", "probability"), tuple(saliency.rows()))
