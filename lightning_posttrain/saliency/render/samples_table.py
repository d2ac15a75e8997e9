"""The explained samples as a table."""

from __future__ import annotations

from lightning_posttrain.core.drawing.table_notes import sentences
from lightning_posttrain.core.output.artifacts import Cell, Table
from lightning_posttrain.saliency.result import Saliency


def saliency_table(saliency: Saliency) -> Table:
    """The samples from top to bottom, and what each method's map leaves out of the change of the output."""
    columns = ("index", "actual", "predicted", "probability", "explained", "value")
    rows = []
    for at, sample in enumerate(saliency.samples):
        known: tuple[Cell, ...] = tuple(getattr(sample, column) for column in columns)
        rows.append((*known, *(gaps[at] for gaps in saliency.gaps.values())))
    gaps = tuple(f"{name} gap" for name in saliency.gaps)
    said = "A gap is the share of the change of the output that a map leaves out; 0 is best." if gaps else ""
    return Table((*columns, *gaps), tuple(rows), note=sentences(said, [*saliency.alarms, *saliency.notes]).strip())
