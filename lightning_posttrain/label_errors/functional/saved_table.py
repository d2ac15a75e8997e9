"""A table of histories in a checkpoint: written small, and checked before it is believed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from lightning_posttrain.label_errors.functional.columns import CLASSES, COUNTS, ColumnForm, packed, unpacked

PACKED = "packed"
"""Stands before the names of columns that are compressed."""


def saved(columns: Mapping[str, Tensor], *, compressed: bool) -> dict[str, Tensor]:
    """Columns on the CPU, by name; compressed with their types beside, by ``packed/<type>/<name>``."""
    if not compressed:
        return {name: column.to("cpu", copy=True) for name, column in columns.items()}
    kinds = {name: str(column.dtype).removeprefix("torch.") for name, column in columns.items()}
    return {f"{PACKED}/{kinds[name]}/{name}": packed(column) for name, column in columns.items()}


def restored(
    state: Mapping[str, Any], wanted: Mapping[str, tuple[int, ...]], *, form: ColumnForm, num_classes: int
) -> dict[str, Tensor]:
    """Columns as a table of a form keeps them, from what ``saved`` gave, of either form.

    Args:
        state: as it was read.
        wanted: shapes of the columns by name.
        form: of the table.
        num_classes: ``C``.

    Raises:
        ValueError: columns are missing, of another shape or kind, or hold what they cannot.
    """
    was_rounded = any(name.startswith(f"{PACKED}/") for name in state)
    columns = _columns(state, wanted)
    came = {name: tuple(column.shape) for name, column in columns.items() if name in wanted}
    if came != dict(wanted):
        raise ValueError(
            f"`state` has the shapes {came}, wanted {dict(wanted)}. Go on with the dataset, the classes and the "
            "`keep_probabilities` that it was saved with, or start anew."
        )
    _check(columns, num_classes)
    found = {name: columns[name] for name in wanted}
    for name in CLASSES:
        found[name] = found[name].to(form.classes)
    for name in COUNTS:
        found[name] = _narrow(found[name], form.counts)
    found["loss"] = form.losses(found["loss"].float())
    if "probabilities" in found and was_rounded != form.rounds:
        before = ColumnForm(mean=torch.uint8) if was_rounded else ColumnForm()
        seen = found["seen"]
        found["probabilities"] = form.kept(before.weighted(found["probabilities"], seen), seen)
    return found


def _columns(state: Mapping[str, Any], wanted: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    found = {}
    for key, value in state.items():
        if not isinstance(value, Tensor) or value.is_meta:
            raise ValueError(f"`state` has a {type(value).__name__} for {key!r}, wanted a tensor. Start anew.")
        _, *kind, name = key.split("/") if key.startswith(f"{PACKED}/") else ("", key)
        dtype: Any = getattr(torch, kind[0], None) if kind else None
        if kind and not (isinstance(dtype, torch.dtype) and value.dtype == torch.uint8):
            raise ValueError(f"`state` has {key!r} of {value.dtype}, wanted compressed bytes of a type. Start anew.")
        if name in wanted:
            found[name] = unpacked(value, dtype, *wanted[name]) if kind else value.cpu()
    return found


def _check(columns: Mapping[str, Tensor], num_classes: int) -> None:
    """Raise for values that no table has written."""
    whole = dict.fromkeys(CLASSES, num_classes - 1) | dict.fromkeys((*COUNTS, "events"), 2**31 - 1)
    for name, column in columns.items():
        number = column.is_floating_point()
        if name in whole and (number or column.dtype == torch.bool or _beyond(column, whole[name])):
            raise ValueError(f"`state` has {name!r} with other than whole numbers of 0 to {whole[name]}. Start anew.")
        if name == "loss" and not number:
            raise ValueError("`state` has 'loss' that is no fraction. Start anew.")
        if name == "probabilities" and number and _beyond(column, 1.0 + 1e-3):
            raise ValueError("`state` has 'probabilities' outside of 0 to 1. Start anew.")


def _beyond(column: Tensor, most: float) -> bool:
    return bool(column.numel()) and not 0 <= column.min().item() <= column.max().item() <= most


def _narrow(counts: Tensor, kind: torch.dtype) -> Tensor:
    """Counts in a type, or in the smallest wider one that they fit into."""
    largest = int(counts.max()) if len(counts) else 0
    kinds = (kind, torch.int16, torch.int32)
    return counts.to(next(each for each in kinds if largest <= torch.iinfo(each).max))
