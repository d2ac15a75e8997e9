"""Values of metrics: numbers and vectors as tables, matrices as pictures."""

from __future__ import annotations

import numpy as np
import torch

from lightning_posttrain.classification import Confusion, confusion_image
from lightning_posttrain.core.drawing.canvas import PALE, WIDTH, Canvas, colored, ink_on, resized, shorten
from lightning_posttrain.core.drawing.table_notes import sentences
from lightning_posttrain.core.output.artifacts import Image, Table
from lightning_posttrain.torchmetrics.result import MetricValues

ROOM = 10
"""Entries in a row up to which numbers are written into cells."""


def numbers_table(result: MetricValues) -> Table:
    """The numbers, one a row."""
    return Table(("metric", "value"), tuple(result.scalars().items()), note=sentences("", result.notes))


def vector_tables(result: MetricValues) -> dict[int, Table]:
    """The vectors, those of one length side by side."""
    tables = {}
    for length in dict.fromkeys(len(vector) for vector in result.vectors().values()):
        chosen = {name: vector for name, vector in result.vectors().items() if len(vector) == length}
        columns = (result.names_of(length), *(vector.tolist() for vector in chosen.values()))
        named = result.names_of(length) == result.class_names
        tables[length] = Table(("class" if named else "index", *chosen), tuple(zip(*columns, strict=True)))
    return tables


def matrix_table(result: MetricValues, name: str) -> Table:
    """A matrix, one row for each of its rows."""
    matrix = result.values[name]
    rows = zip(result.names_of(matrix.shape[0]), matrix.tolist(), strict=True)
    return Table(
        (name, *result.names_of(matrix.shape[1])), tuple((row, *cells) for row, cells in rows), files_only=True
    )


def matrix_image(result: MetricValues, name: str, *, title: str = "") -> Image:
    """Draw a matrix; square counts as a confusion matrix, others by colour from their smallest to largest value."""
    matrix = result.values[name]
    heading = f"{title} · {name}"
    if matrix.shape[0] == matrix.shape[1] and not matrix.is_floating_point():
        return confusion_image(Confusion(matrix.long(), result.names_of(len(matrix))), title=heading)
    values = matrix.double().numpy()
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    scaled = np.nan_to_num((values - low) / ((high - low) or 1.0))
    width = WIDTH - 24
    height = max(min(width * matrix.shape[0] // matrix.shape[1], 900), 24)
    canvas = Canvas(height + 96)
    canvas.text(12, 10, shorten(heading, width))
    pixels = colored(scaled, "viridis")
    canvas.paste(12, 48, resized(pixels, height, width))
    if max(matrix.shape) <= ROOM:
        _numbers(canvas, matrix, pixels, height, width)
    canvas.text(12, height + 62, f"dark {low:.4g} to light {high:.4g}", size=18, color=PALE)
    return canvas.image()


def _numbers(canvas: Canvas, matrix: torch.Tensor, pixels: np.ndarray, height: int, width: int) -> None:
    down, across = height / matrix.shape[0], width / matrix.shape[1]
    for (i, j), value in np.ndenumerate(matrix.numpy()):
        place = 12 + (j + 0.5) * across, 48 + (i + 0.5) * down
        canvas.text(*place, f"{float(value):.3g}", size=18, anchor="mm", color=ink_on(tuple(pixels[i, j].tolist())))
