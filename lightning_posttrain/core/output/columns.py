"""Tables for a terminal."""

from __future__ import annotations

from collections.abc import Collection, Sequence


def in_columns(rows: Sequence[Sequence[str]], *, right: Collection[int] = ()) -> list[str]:
    r"""Rows of cells as lines whose columns stand below each other; a column that is empty in all rows is left out.

    Args:
        rows: with as many cells each; the first is the head, where there is one.
        right: numbers of the columns whose cells end below each other, as numbers do.

    Example:
        >>> print("\n".join(in_columns([["", "rows"], ["val", "7"], ["test", "12"]], right={1})))
              rows
        val      7
        test    12
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if place in right else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
            if width
        ).rstrip()
        for row in rows
    ]
