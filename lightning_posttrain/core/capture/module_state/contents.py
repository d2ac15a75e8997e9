"""How containers get their former items again: the same container, the same items, in the same order."""

from __future__ import annotations

import io
import random
from collections import OrderedDict, deque
from collections.abc import Callable, MutableMapping
from functools import partial
from operator import is_
from typing import Any

import numpy as np
import torch

Undo = Callable[[], object]


def refill_attributes(attributes: MutableMapping[str, Any], before: dict[str, Any]) -> None:
    """Take out what was added, and put back what is another or is gone; the rest is not touched."""
    for name in attributes.keys() - before.keys():
        del attributes[name]
    for name, value in before.items():
        if name not in attributes or attributes[name] is not value:
            attributes[name] = value


def refill_dict(items: dict[Any, Any], before: dict[Any, Any]) -> None:
    """A dict, with its order."""
    same = len(items) == len(before) and all(map(is_, items, before)) and all(map(is_, items.values(), before.values()))
    if not same:
        base = OrderedDict if isinstance(items, OrderedDict) else dict  # a class may have methods of its own
        base.clear(items)
        base.update(items, before)


def refill_list(items: list[Any], before: list[Any]) -> None:
    """A list."""
    list.__setitem__(items, slice(None), before)


def refill_lists(lists: list[list[Any]], before: list[list[Any]]) -> None:
    """Very many lists."""
    for items, kept in zip(lists, before, strict=True):
        items[:] = kept


def refill_all(kept: list[tuple[Any, Any]]) -> None:
    """Dicts and sets, most of which are empty, as None says."""
    for items, before in kept:
        if before is None:
            items.clear()
        elif isinstance(items, dict):
            refill_dict(items, before)
        else:
            refill_set(items, before)


def refill_set(items: set[Any], before: set[Any]) -> None:
    """A set."""
    if len(items) != len(before) or not before.issuperset(items):
        set.clear(items)
        set.update(items, before)


def refill_deque(items: deque[Any], before: list[Any]) -> None:
    """A deque."""
    if len(items) != len(before) or not all(map(is_, items, before)):
        deque.clear(items)
        deque.extend(items, before)


def refill_array(items: Any, before: Any) -> None:
    """A bytearray or an array of Python's own."""
    if items != before:
        items[:] = before


def refill_numpy(items: np.ndarray[Any, Any], before: np.ndarray[Any, Any]) -> None:
    """An array of NumPy."""
    if items.shape != before.shape:
        items.resize(before.shape, refcheck=False)
    np.copyto(items, before)


def undo_random(generator: Any) -> Undo:
    """What gives a generator of random numbers its present state again."""
    if isinstance(generator, torch.Generator):
        return partial(generator.set_state, generator.get_state())
    if isinstance(generator, random.Random):
        return partial(generator.setstate, generator.getstate())
    if isinstance(generator, np.random.RandomState):
        return partial(generator.set_state, generator.get_state(legacy=False))
    bits = generator.bit_generator if isinstance(generator, np.random.Generator) else generator
    return partial(setattr, bits, "state", bits.state)


def undo_file(file: io.IOBase) -> Undo | None:
    """What moves a file to where it is read from; None where nothing reads it.

    Raises:
        OSError: it cannot be moved back.
    """
    if file.closed or not file.readable():
        return None
    if isinstance(file, (io.BytesIO, io.StringIO)):
        return partial(file.__setstate__, file.__getstate__())  # type: ignore[union-attr]  # typeshed has it not
    if not file.seekable():
        raise OSError("not seekable")
    return partial(file.seek, file.tell())
