"""What tells the members of an ensemble apart."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from lightning_posttrain.core.drawing.canvas import PALE, WIDTH, Canvas, Color, colored, ink_on, shorten, wrapped
from lightning_posttrain.core.drawing.table_notes import sentences
from lightning_posttrain.core.output.artifacts import Image, Table
from lightning_posttrain.ensembles.result import EnsembleReport

LEFT, TOP, SMALL = 190, 96, 20
MOST = 24
UNDEFINED: Color = (228, 228, 228)
READ = (
    "How far errors go together (phi): 1 where two members err on the same rows, 0 where on rows of their own. The "
    "less, the more an ensemble gains"
)


def members_image(report: EnsembleReport, title: str = "") -> Image:
    """Draw how far the errors of each two members go together.

    Args:
        report: what to draw, with the ``diversity`` of its members.
        title: stands above, as ``"test"``.
    """
    assert report.diversity is not None
    values = report.diversity.error_correlation.numpy()[:MOST, :MOST]
    names = [member.name for member in report.members][: len(values)]
    cell = min(80, (WIDTH - LEFT - 12) // len(names))
    said = wrapped(sentences("", _notes(report)).strip(), WIDTH - 24, SMALL, most=6)
    foot = TOP + cell * len(names) + 20
    canvas = Canvas(foot + 27 * len(said) + 10)
    canvas.text(12, 10, shorten(f"{title} · errors that members share", WIDTH - 24))
    colors = colored(np.nan_to_num(np.clip(values, 0, 1)) * 0.85, "Blues")
    most = 1 if cell < 44 else 2
    for row, name in enumerate(names):
        canvas.name(LEFT - 12, TOP + cell * (row + 0.5), f"{row + 1} · {name}", LEFT - 24, size=18, most=most)
        if cell >= 26 or row % 2 == 0:  # two digits are wider than narrower cells
            canvas.text(LEFT + cell * (row + 0.5), TOP - 10, str(row + 1), size=18, anchor="ms", color=PALE)
        for column in range(len(names)):
            value, color = float(values[row, column]), tuple(map(int, colors[row, column]))
            shade = UNDEFINED if math.isnan(value) else (color[0], color[1], color[2])
            canvas.box(LEFT + cell * column, TOP + cell * row, cell - 2, cell - 2, shade)
            if cell >= 40 and row != column:
                text = "–" if math.isnan(value) else f"{value:.2f}"
                x, y = LEFT + cell * (column + 0.5) - 1, TOP + cell * (row + 0.5) - 1
                canvas.text(x, y, text, size=18, anchor="mm", color=ink_on(shade))
    canvas.lines(12, foot, said, 27, size=SMALL)
    return canvas.image()


def _notes(report: EnsembleReport) -> list[str]:
    found = report.diversity
    members = 0 if found is None else len(found.error_correlation)
    said = [READ, f"the first {MOST} of {members} members" if members > MOST else ""]
    if found is not None and bool(found.error_correlation.isnan().any()):
        said.append("grey: one of the two errs on no row, or on all")
    if found is not None and found.entropy > 0:
        said.append(
            f"uncertainty of the mean of members is {found.entropy:.3f} nats, of which {found.information:.3f} "
            f"({found.information / found.entropy:.0%}) from their disagreement"
        )
    return [note for note in said if note]


def members_table(report: EnsembleReport) -> Table:
    """Each member alone, and how far it errs and disagrees with the others."""
    found, rows = report.diversity, []
    for row, member in enumerate(report.members):
        shared = None if found is None else _mean_of_others(found.error_correlation, row)
        differs = None if found is None else _mean_of_others(found.disagreement, row)
        figures = (member.log_loss, member.accuracy, member.ece)
        rows.append((member.name, member.kind, *map(_cell, figures), shared, differs))
    columns = ("member", "weights", "log loss", "accuracy", "ECE", "errors shared, mean phi", "disagrees, mean share")
    return Table(columns, tuple(rows), note=sentences("", _notes(report)).strip())


def _mean_of_others(values: Tensor, row: int) -> float | None:
    """The mean over pairs with other members; None where there is none, or none is defined, and of an average."""
    if row >= len(values):
        return None
    others = torch.cat([values[row, :row], values[row, row + 1 :]])
    return _cell(float(others.nanmean()))


def _cell(value: float) -> float | None:
    return None if math.isnan(value) else value
