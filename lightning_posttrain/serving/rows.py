"""Rows of a request, each checked by itself: what is wrong with one is no matter of the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lightning_posttrain.export import Signature, TensorSpec
from lightning_posttrain.serving.answering import Array, Row
from lightning_posttrain.serving.refusal import shortened

Checked = list["Row | str"]
"""Of each row its arrays, or what is wrong with it."""


def checked_rows(given: Sequence[Any] | Array, signature: Signature, *, booleans: bool = False) -> Checked:
    """Each row as the model takes it, or the reason why it cannot be taken.

    Args:
        given: of each row the numbers, or a dict of them by the name of each input.
        signature: of the model.
        booleans: whether there may be a ``bool`` among the numbers, which NumPy would take for one.
    """
    try:
        arrays = _arrays(given, signature, booleans)
    except (KeyError, TypeError, ValueError):
        return [_alone(row, signature, booleans) for row in given]
    return [{name: array[index] for name, array in arrays.items()} for index in range(len(given))]


def _alone(row: Any, signature: Signature, booleans: bool) -> Row | str:
    try:
        arrays = _arrays([row], signature, booleans)
    except (KeyError, TypeError, ValueError) as error:
        return shortened(str(error))
    return {name: array[0] for name, array in arrays.items()}


def _arrays(given: Sequence[Any] | Array, signature: Signature, booleans: bool) -> dict[str, Array]:
    names = [spec.name for spec in signature.inputs]
    columns: Mapping[str, Any]
    if len(names) == 1 and not isinstance(given[0], dict):
        columns = {names[0]: given}
    else:
        for row in given:
            if not isinstance(row, dict) or set(row) != set(names):
                found = sorted(map(str, row)) if isinstance(row, dict) else type(row).__name__
                raise ValueError(f"A row is {found}, wanted an object with {names}.")
        columns = {name: [row[name] for row in given] for name in names}
    return {spec.name: tensor(columns[spec.name], spec, booleans=booleans) for spec in signature.inputs}


def tensor(given: Any, spec: TensorSpec, *, booleans: bool = False) -> Array:
    """Rows of one input as the model takes them.

    Raises:
        ValueError: as ``TensorSpec.of``; also for a number that the type does not hold, for none at all, and for true
            and false.
    """
    wanted = np.dtype(spec.dtype)
    if booleans and wanted.kind != "b" and _holds_a_bool(given):
        raise ValueError(f"`{spec.name}` has true or false among its numbers. Wanted {spec.words}.")
    try:
        array = np.asarray(given)
    except (OverflowError, RecursionError, ValueError) as error:
        raise ValueError(f"`{spec.name}` is no array: {error}. Wanted {spec.words}.") from None
    if array.size == 0:
        raise ValueError(f"`{spec.name}` has shape {array.shape}, which holds nothing. Wanted {spec.words}.")
    if wanted.kind == "f" and array.dtype.kind in "fiu" and array.dtype != wanted:
        # a number that is too large becomes infinite, which is refused as such
        with np.errstate(over="ignore", invalid="ignore"):
            array = array.astype(wanted)
    return spec.of(array)


def _holds_a_bool(given: Any) -> bool:
    if isinstance(given, np.ndarray):
        return False
    return any(isinstance(value, bool) for value in np.asarray(given, dtype=object).flat)
