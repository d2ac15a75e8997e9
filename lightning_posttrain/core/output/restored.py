"""What JSON holds, as the types that it was written from."""

from __future__ import annotations

import math
import types
import typing
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any, TypeVar

import torch
from torch import Tensor

Kind = TypeVar("Kind")


def restored_fields(kind: type[Kind], state: Mapping[str, Any]) -> Kind:
    """A dataclass from a record of its fields; those that the record has not keep their defaults.

    Args:
        kind: the dataclass, whose annotations say how each value is read.
        state: the record; what is no field of it is passed over.
    """
    hints = _hints(kind)  # type: ignore[arg-type]
    kept = {part.name for part in fields(kind) if part.init} & set(state)  # type: ignore[arg-type]
    return kind(**{name: restored(hints[name], state[name]) for name in kept})


def restored(wanted: Any, value: Any) -> Any:
    """One value of JSON as an annotation has it: None as NaN where a number is wanted, lists as tensors and tuples.

    Example:
        >>> restored(tuple[float, ...], [0.5, None]), restored(dict[int, str], {"3": "cat"})
        ((0.5, nan), {3: 'cat'})
    """
    origin, inner = typing.get_origin(wanted), typing.get_args(wanted)
    if origin in (typing.Union, types.UnionType):
        known = [one for one in inner if one is not type(None)]
        return None if value is None and len(known) < len(inner) else restored(known[0], value)
    if wanted is float:
        return math.nan if value is None else float(value)
    if wanted is Tensor:
        return _tensor(value)
    if isinstance(wanted, type) and origin is None:
        return _as_type(wanted, value)
    if origin is not None and isinstance(origin, type):
        return _within(origin, inner, value)
    return value


def _as_type(wanted: type[Any], value: Any) -> Any:
    if is_dataclass(wanted):
        read = getattr(wanted, "from_dict", None)
        return restored_fields(wanted, value) if read is None else read(value)
    if issubclass(wanted, tuple) and hasattr(wanted, "_fields"):
        hints = _hints(wanted)
        parts = [value[name] for name in wanted._fields] if isinstance(value, Mapping) else value
        return wanted(*(restored(hints[name], part) for name, part in zip(wanted._fields, parts, strict=True)))
    return value


def _within(origin: type[Any], inner: tuple[Any, ...], value: Any) -> Any:
    if issubclass(origin, tuple):
        each = [inner[0]] * len(value) if inner[-1] is Ellipsis else inner
        return tuple(restored(one, part) for one, part in zip(each, value, strict=True))
    if issubclass(origin, Mapping):
        key = int if inner[0] is int else str
        return {key(name): restored(inner[1], part) for name, part in value.items()}
    return origin(value) if issubclass(origin, (frozenset, set, list)) else value


def _tensor(value: Any) -> Tensor:
    """Float64, int64 or bool, on the CPU."""
    flat, waiting = [], [value]
    while waiting:
        part = waiting.pop()
        if isinstance(part, list):
            waiting.extend(part)
        else:
            flat.append(part)
    whole = bool(flat) and all(isinstance(part, int) for part in flat)
    return torch.tensor(value) if whole else torch.tensor(_with_nan(value), dtype=torch.float64)


def _with_nan(value: Any) -> Any:
    if isinstance(value, list):
        return [_with_nan(part) for part in value]
    return math.nan if value is None else value


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return typing.get_type_hints(kind)
