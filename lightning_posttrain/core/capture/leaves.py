"""The tensors in what a step or a module returned."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

from torch import Tensor


def leaves(
    value: Any, keys: tuple[str, ...], attributes: Sequence[str] = (), path: str = ""
) -> Iterator[tuple[str, Tensor]]:
    """Path and tensor of every tensor in ``value``; of what has one of ``keys``, only what stands there.

    Args:
        value: what a step or a module returned.
        keys: in the order in which they are looked for.
        attributes: of an object that is no collection, those under which tensors may stand.
        path: of ``value`` itself.
    """
    if isinstance(value, Tensor):
        yield path, value
        return
    parts = named_parts(value, attributes)
    named = [key for key in keys if key in parts][:1]
    for key in named or parts:
        yield from leaves(parts[key], keys, attributes, f"{path}[{key!r}]")


def named_parts(value: Any, attributes: Sequence[str] = ()) -> Mapping[Any, Any]:
    """The parts of a dict, tuple, list or dataclass by key or position, of another object by ``attributes``."""
    if isinstance(value, Mapping):
        return value
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return dict(value._asdict())
    if isinstance(value, (tuple, list)):
        return dict(enumerate(value))
    if is_dataclass(value) and not isinstance(value, type):
        return {part.name: getattr(value, part.name) for part in fields(value)}
    return {key: getattr(value, key) for key in attributes if isinstance(getattr(value, key, None), Tensor)}
