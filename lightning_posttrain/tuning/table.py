"""Trials as a table that can be read in a terminal, and as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from lightning_posttrain.core.drawing.table_notes import sentences
from lightning_posttrain.core.output.artifacts import Table
from lightning_posttrain.core.output.columns import in_columns
from lightning_posttrain.tuning.wording import said

if TYPE_CHECKING:
    from lightning_posttrain.tuning.result import Study

ROWS, CELL = 20, 28
ENDS = ("step", "seconds", "again", "reason")


def named_rows(study: Study) -> Iterator[tuple[list[str], list[Any]]]:
    """Names of the columns and cells of each trial; a name that is taken already says whose it is."""
    params = list(dict.fromkeys([*study.space, *(name for trial in study.trials for name in trial.params)]))
    figures = list(dict.fromkeys(name for trial in study.trials for name in trial.test))
    taken = {"trial", "status", study.monitor, *ENDS}
    said = [f"parameter {name}" if name in taken else name for name in params]
    tested = [f"test {name}" if name in {*taken, *said} else name for name in figures]
    names = ["trial", "status", study.monitor, *said, *tested, *ENDS]
    for trial in study.trials:
        values = [*(trial.params.get(name) for name in params), *(trial.test.get(name) for name in figures)]
        ends = [trial.step, trial.seconds, trial.again, trial.reason]
        yield names, [trial.number, trial.status, trial.shown, *values, *ends]


def ranked_table(study: Study) -> Table:
    """The best trials and then the others; columns without any value are left out."""
    place = {trial.number: number for number, trial in enumerate(study.ranked)}
    found = sorted(study.table, key=lambda row: (place.get(row["trial"], len(place)), row["trial"]))
    columns = tuple(name for name in (found[0] if found else ()) if any(row[name] not in (None, "") for row in found))
    note = sentences(f"{study.words[0].upper()}{study.words[1:]}", study.notes)
    return Table(columns, tuple(tuple(_plain(row[name]) for name in columns) for row in found), note=note)


def _plain(value: Any) -> str | None:
    return value if value is None else said(value)


def text_table(study: Study, rows: int = ROWS) -> str:
    """``ranked_table`` in columns of text.

    Args:
        study: of which.
        rows: at most, the rest is counted.
    """
    table = ranked_table(study)
    cells = [table.columns, *(tuple(map(_cell, row)) for row in table.rows[:rows])]
    rest = len(table.rows) - rows
    return "\n".join([*in_columns(cells), *([f"and {rest} more"] if rest > 0 else [])])


def _cell(value: Any) -> str:
    text = " ".join((value or "-").split())
    return text if len(text) <= CELL else f"{text[: CELL - 1]}…"


def csv_table(study: Study) -> bytes:
    """A row for each trial, in the order of their numbers; an empty cell where there is no value."""
    text, rows = io.StringIO(newline=""), study.table
    writer = csv.DictWriter(text, list(rows[0]) if rows else ["trial"])
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode(errors="backslashreplace")
