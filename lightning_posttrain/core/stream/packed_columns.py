"""Columns of one type side by side in one table, so that rows of all are taken in one operation."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

import torch
from torch import Tensor


class Place(NamedTuple):
    """Where a column stands: in which table, from where to where, and the shape of a row."""

    table: str
    first: int
    end: int
    shape: torch.Size


Layout = dict[str, Place]


def packed(columns: Mapping[str, Tensor], *, alone: Collection[str] = ()) -> tuple[dict[str, Tensor], Layout]:
    """Tables ``(N, W)`` by type, beside columns that stand ``alone``, and where each column is.

    Example:
        >>> tables, layout = packed({"a": torch.tensor([1, 2]), "b": torch.tensor([[3, 4], [5, 6]])})
        >>> tables["torch.int64"].tolist(), unpacked(tables, layout)["b"].tolist()
        ([[1, 3, 4], [2, 5, 6]], [[3, 4], [5, 6]])
    """
    parts: dict[str, list[Tensor]] = {}
    layout: Layout = {}
    for name, column in columns.items():
        if name not in alone:
            beside = parts.setdefault(str(column.dtype), [])
            first = sum(part.shape[1] for part in beside)
            beside.append(column.reshape(len(column), column.shape[1:].numel()))
            layout[name] = Place(str(column.dtype), first, first + beside[-1].shape[1], column.shape[1:])
    tables = {name: torch.cat(beside, dim=1) for name, beside in parts.items()}
    return {**tables, **{name: columns[name] for name in alone if name in columns}}, layout


def unpacked(tables: Mapping[str, Tensor], layout: Layout) -> dict[str, Tensor]:
    """The columns, and what stood alone, as they were before ``packed``."""
    found = {}
    for name, (table, first, end, shape) in layout.items():
        if table in tables:
            found[name] = tables[table][:, first:end].reshape(len(tables[table]), *shape).contiguous()
    used = {place.table for place in layout.values()}
    return {**found, **{name: column for name, column in tables.items() if name not in used}}
