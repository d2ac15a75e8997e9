"""Which memory a tensor lies in, so that it is known again although it is not kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef

from lightning_posttrain.core.capture.leaves import leaves


@dataclass(frozen=True, eq=False)
class Memory:
    """Where a tensor lay; no other can lie there under the same number while this is kept.

    Args:
        shape: of the tensor.
        stride: likewise.
        offset: of its first number in the storage.
        storage: does not keep the numbers.
    """

    shape: torch.Size
    stride: tuple[int, ...]
    offset: int
    storage: StorageWeakRef

    @classmethod
    def of(cls, tensor: Tensor) -> Memory | None:
        """None for what has no storage of its own, as a nested or sparse tensor."""
        if tensor.layout != torch.strided or tensor.is_nested:
            return None
        try:
            storage = StorageWeakRef(tensor.untyped_storage())  # type: ignore[no-untyped-call]
        except (NotImplementedError, RuntimeError):
            return None
        return cls(tensor.shape, tensor.stride(), int(tensor.storage_offset()), storage)

    def holds(self, tensor: Tensor) -> bool:
        """Whether a tensor lies in the same storage."""
        other = Memory.of(tensor)
        return other is not None and bool(self.storage.cdata == other.storage.cdata)

    def reshaped(self, like: Tensor) -> Tensor:
        """A tensor of the memory's shape, made of one that lies in the same storage."""
        return like.as_strided(self.shape, self.stride, self.offset)


def memories(output: Any) -> list[tuple[str, Memory]]:
    """Of every tensor in what a module gave, by path."""
    if isinstance(output, Memory):
        return [("", output)]
    found = ((path, Memory.of(tensor)) for path, tensor in leaves(output, ()))
    return [(path, memory) for path, memory in found if memory is not None]


def shares_memory(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors begin at the same place in the same memory."""
    plain = a.layout == b.layout == torch.strided
    return plain and a.device == b.device and a.data_ptr() == b.data_ptr() != 0


def is_of(argument: Any, tensor: Tensor) -> bool:
    """Whether an argument is a tensor, or the same numbers in another shape."""
    if argument is tensor:
        return True
    return isinstance(argument, Tensor) and argument.numel() == tensor.numel() > 0 and shares_memory(argument, tensor)
