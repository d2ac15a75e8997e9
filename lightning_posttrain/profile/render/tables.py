"""What a model costs, as tables."""

from __future__ import annotations

from lightning_posttrain.core.drawing.table_notes import sentences
from lightning_posttrain.core.output.artifacts import Table
from lightning_posttrain.profile.clock.spent import NO_PART
from lightning_posttrain.profile.counting import Architecture, ModuleRow
from lightning_posttrain.profile.figures import figures_of
from lightning_posttrain.profile.result import ProfileReport

COLUMNS = ("module", "operation", "calls", "input", "output", "parameters", "FLOPs a row", "share of FLOPs")


def figures_table(report: ProfileReport) -> Table:
    """The figures that a person wants first."""
    return Table(("", "value"), tuple(figures_of(report)), note=sentences("", report.notes).strip())


def architecture_table(architecture: Architecture) -> Table:
    """A row for each module that was called, and for what others do and hold themselves; they add up to the totals.

    Of shapes ``N`` is the batch.
    """
    rows = tuple(
        (
            row.name, row.operation, row.calls, shapes_words(row.inputs, architecture.batch),
            shapes_words(row.outputs, architecture.batch), row.parameters, _a_row(row, architecture),
            f"{row.flops / max(architecture.total_flops, 1):.1%}",
        )
        for row in architecture.rows
    )  # fmt: skip
    total = (
        "total", "", None, "", "", sum(row.parameters for row in architecture.rows), architecture.flops, "100.0%",
    )  # fmt: skip
    return Table(COLUMNS, (*rows, total))


def _a_row(row: ModuleRow, architecture: Architecture) -> int | float:
    whole, rest = divmod(row.flops, architecture.batch)
    return row.flops / architecture.batch if rest else whole


def shapes_words(shapes: tuple[tuple[int, ...], ...], batch: int) -> str:
    """Shapes of tensors, the batch as ``N`` where it comes first.

    Example:
        >>> shapes_words(((8, 3, 32, 32), (8,)), 8)
        'N × 3 × 32 × 32, N'
    """
    return ", ".join(" × ".join(_side(place, side, batch) for place, side in enumerate(shape)) for shape in shapes)


def _side(place: int, side: int, batch: int) -> str:
    return "N" if place == 0 and side == batch else str(side)


def seconds_table(report: ProfileReport) -> Table:
    """Where the seconds of the run went, most first; they add up to the run."""
    rows = tuple(
        (row.name, row.kind, round(row.seconds, 6), "" if row.kind in NO_PART else f"{row.share:.2%}", row.calls)
        for row in report.spent
    )
    note = f"{report.wall:.2f} s until the report, by the host's clock; each counts once, innermost."
    return Table(("what", "kind", "seconds", "share", "calls"), rows, note=note)
