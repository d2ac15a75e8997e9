"""What objects hold, at any depth, as plain data that can be compared: slow, and by other means than the package's."""

from __future__ import annotations

import array
import collections
import functools
import io
import itertools
import random
import types
from typing import Any

import numpy as np
import torch
from torch import nn

FLAT = (int, float, str, bytes, complex, type(None), type, torch.dtype, torch.device)

LOOKED_INTO = (nn.Module, functools.partial, types.MethodType)


def state_of(value: Any, *, by_object: bool = False, seen: dict[int, int] | None = None) -> Any:
    """What a value holds; with ``by_object`` also which objects they are, and else only their values.

    Args:
        value: anything.
        by_object: whether the same objects are wanted.
        seen: numbers of the objects that were met, for cycles.
    """
    seen = {} if seen is None else seen
    if isinstance(value, FLAT):
        return value
    if callable(value) and not isinstance(value, LOOKED_INTO):
        return str(type(value))
    if id(value) in seen:
        return "met", seen[id(value)]
    seen[id(value)] = len(seen)
    mark = id(value) if by_object and not isinstance(value, tuple) else None
    return type(value).__name__, mark, [state_of(one, by_object=by_object, seen=seen) for one in _content(value)]


READ = {
    torch.Tensor: lambda one: [str(one.dtype), str(one.shape), repr(one.detach().tolist())],
    np.ndarray: lambda one: [str(one.dtype), str(one.shape), repr(one.tolist())],
    torch.Generator: lambda one: [one.get_state().numpy().tobytes()],
    random.Random: lambda one: [repr(one.getstate())],
    np.random.RandomState: lambda one: [repr(one.get_state(legacy=False))],
    np.random.Generator: lambda one: [repr(one.bit_generator.state)],
    np.random.BitGenerator: lambda one: [repr(one.state)],
    io.IOBase: lambda one: [one.tell(), one.getvalue() if hasattr(one, "getvalue") else ""],
    functools.partial: lambda one: [one.args, one.keywords],
    types.MethodType: lambda one: [one.__self__],
    itertools.count: lambda one: [repr(one)],
}


def _content(value: Any) -> list[Any]:
    read = next((read for kind, read in READ.items() if isinstance(value, kind)), _inside)
    return read(value)


def _inside(value: Any) -> list[Any]:
    attributes = list(itertools.chain.from_iterable(getattr(value, "__dict__", {}).items()))
    slots = [getattr(value, name, "unset") for name in getattr(type(value), "__slots__", ())]
    if isinstance(value, dict):
        return [*itertools.chain.from_iterable(value.items()), *attributes]
    if isinstance(value, (set, frozenset)):
        return [*sorted(value, key=repr), *attributes]
    if isinstance(value, (list, tuple, collections.deque, bytearray, array.array)):
        return [*value, *attributes]
    return [*attributes, *slots]
