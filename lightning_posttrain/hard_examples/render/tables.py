"""Hard samples as tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import Tensor

from lightning_posttrain.core.drawing.canvas import one_line
from lightning_posttrain.core.drawing.table_notes import sentences
from lightning_posttrain.core.output.artifacts import Cell, Table
from lightning_posttrain.hard_examples.result import HardExample, HardGroup, HardReport

KNOWN = ("index", "actual", "predicted", "probability", "loss")
LETTERS = 200


def group_table(report: HardReport, group: HardGroup) -> Table:
    """The samples of a group, the hardest first; of tokens the beginning.

    Example:
        >>> group = HardGroup("highest_loss", "highest loss", (HardExample(7, "cat", "dog", 0.9, 2.4),))
        >>> group_table(HardReport((group,), rows=50), group).rows
        ((1, 7, 'cat', 'dog', 0.9, 2.4),)
    """
    said = f"{group.title[:1].upper()}{group.title[1:]}: {len(group.examples)} of {report.rows} rows."
    if report.kind == "tabular":
        said += " Their values stand in the CSV file of all."
    rows = tuple((rank, *_cells(report, example, LETTERS)) for rank, example in enumerate(group.examples, start=1))
    return Table(("rank", *_columns(report)), rows, sentences(said, report.notes))


def all_table(report: HardReport) -> Table:
    """Every sample of every group and confused pair, with all its values or its whole text, for files."""
    every = (*report.groups, *report.cells)
    names = _features(report, every)
    rows = tuple(
        (group.name, rank, *_cells(report, example), *values)
        for group in every
        for rank, (example, values) in enumerate(_with_values(group, len(names)), start=1)
    )
    return Table(("group", "rank", *_columns(report), *names), rows, files_only=True)


def _columns(report: HardReport) -> tuple[str, ...]:
    return (*KNOWN, "text") if report.kind == "tokens" else KNOWN


def _cells(report: HardReport, example: HardExample, letters: int | None = None) -> tuple[Cell, ...]:
    known: tuple[Cell, ...] = tuple(getattr(example, column) for column in KNOWN)
    return (*known, _beginning(example.text, letters)) if report.kind == "tokens" else known


def _beginning(text: str | None, letters: int | None) -> str | None:
    if text is None or letters is None:
        return text
    line = one_line(text)
    return line if len(line) <= letters else f"{line[: letters - 1].rstrip()}…"


def _features(report: HardReport, groups: Sequence[HardGroup]) -> tuple[str, ...]:
    """A name for each value of a tabular row."""
    if report.kind != "tabular":
        return ()
    count = next((group.shown.shape[1] for group in groups if group.shown is not None), 0)
    return report.names or tuple(f"feature {i}" for i in range(count))


def _values(row: Tensor) -> tuple[Cell, ...]:
    # by way of their text: a float32 of 0.1 is 0.1, not 0.10000000149
    return tuple(float(str(value)) for value in row.numpy())


def _with_values(group: HardGroup, count: int) -> Iterator[tuple[HardExample, tuple[Cell, ...]]]:
    """Each sample and its ``count`` values; None for each where they cannot be shown."""
    if count and group.shown is not None:
        yield from zip(group.examples, map(_values, group.shown), strict=True)
    else:
        yield from ((example, (None,) * count) for example in group.examples)
