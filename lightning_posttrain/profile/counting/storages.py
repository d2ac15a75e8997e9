"""The memory behind tensors, those of subclasses that wrap others included."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, UntypedStorage
from torch.utils._python_dispatch import is_traceable_wrapper_subclass


def plain_parts(tensor: Tensor) -> Iterator[Tensor]:
    """The tensors that a subclass wraps, as a quantised or sharded one, at any depth; an ordinary tensor itself."""
    wrapper: Any = tensor
    if not is_traceable_wrapper_subclass(wrapper):
        yield tensor
        return
    names, _ = wrapper.__tensor_flatten__()
    for part in (getattr(wrapper, name) for name in names):
        if isinstance(part, Tensor):  # a sharded one names its mesh too
            yield from plain_parts(part)


def storages_of(value: Any) -> Iterator[UntypedStorage]:
    """The storages of all tensors in ``value``, at any depth of lists and dicts."""
    if isinstance(value, Tensor):
        for part in _strided(value):
            yield part.untyped_storage()
    elif isinstance(value, (list, tuple, dict)):
        for each in value.values() if isinstance(value, dict) else value:
            yield from storages_of(each)


def _strided(tensor: Tensor) -> Iterator[Tensor]:
    """Tensors that have a storage: of sparse ones the numbers, of those in a layout of a library none."""
    for part in plain_parts(tensor):
        if part.layout is torch.strided:
            yield part
        elif part.layout is torch.sparse_coo:
            yield part._values()
        elif part.layout is not torch._mkldnn:  # type: ignore[attr-defined]
            yield part.values()


def bytes_of(tensor: Tensor) -> int:
    """Bytes of a tensor's numbers; of a subclass those of what it wraps."""
    return sum(part.numel() * part.element_size() for part in plain_parts(tensor))
