"""The memory behind tensors, those of subclasses that wrap others included."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, UntypedStorage
from torch.utils._python_dispatch import is_traceable_wrapper_subclass
from torch.utils._pytree import tree_leaves


def plain_parts(tensor: Tensor) -> Iterator[Tensor]:
    """The tensors that a subclass wraps, as a quantised or sharded one, at any depth; an ordinary tensor itself."""
    wrapper: Any = tensor
    if not is_traceable_wrapper_subclass(wrapper):
        yield tensor
        return
    names, _ = wrapper.__tensor_flatten__()
    for name in names:
        yield from plain_parts(getattr(wrapper, name))


def storages_of(value: Any) -> Iterator[UntypedStorage]:
    """The storages of all tensors in ``value``, at any depth of lists and dicts."""
    for leaf in tree_leaves(value):
        if isinstance(leaf, Tensor):
            for part in _strided(leaf):
                yield part.untyped_storage()


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
