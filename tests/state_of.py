"""What objects hold, at any depth, as plain data that can be compared: slow, and by other means than the package's."""

from __future__ import annotations

import array
import collections
import io
import itertools
import random
from typing import Any

import numpy as np
import torch
from torch import nn

FLAT = (int, float, str, bytes, complex, type(None), type, torch.dtype, torch.device)


def state_of(value: Any, *, by_object: bool = False, seen: dict[int, int] | None = None) -> Any:
    """What a value holds; with ``by_object`` also which objects they are, and else only their values.

    Args:
        value: anything.
        by_object: whether the same objects are wanted.
        seen: numbers of the objects that were met, for cycles.
    """
    seen = {} if seen is None else seen
    if isinstance(value, FLAT) or (callable(value) and not isinstance(value, nn.Module)):
        return value if isinstance(value, FLAT) else str(type(value))
    if id(value) in seen:
        return "met", seen[id(value)]
    seen[id(value)] = len(seen)
    mark = id(value) if by_object and not isinstance(value, tuple) else None
    return type(value).__name__, mark, [state_of(one, by_object=by_object, seen=seen) for one in _content(value)]


READ = {
    torch.Tensor: lambda one: [one.dtype, list(one.shape), one.detach().clone().cpu().numpy().tobytes()],
    np.ndarray: lambda one: [str(one.dtype), list(one.shape), repr(one.tolist())],
    torch.Generator: lambda one: [one.get_state().numpy().tobytes()],
    random.Random: lambda one: [repr(one.getstate())],
    np.random.RandomState: lambda one: [repr(one.get_state(legacy=False))],
    np.random.Generator: lambda one: [repr(one.bit_generator.state)],
    np.random.BitGenerator: lambda one: [repr(one.state)],
    io.IOBase: lambda one: [one.tell(), one.getvalue() if hasattr(one, "getvalue") else ""],
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
