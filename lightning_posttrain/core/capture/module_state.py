"""Keep a module's buffers as they are while it is run for our sake."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


@contextmanager
def kept_buffers(module: nn.Module) -> Iterator[None]:
    """Put every buffer back, by object and by value, whatever a forward inside did to them.

    Example:
        >>> norm = nn.BatchNorm1d(2)
        >>> with kept_buffers(norm):
        ...     _ = norm(torch.ones(3, 2))
        >>> norm.running_mean
        tensor([0., 0.])
    """
    buffers = [
        (part, name, buffer, snapshot(buffer)) for part in module.modules() for name, buffer in part._buffers.items()
    ]
    try:
        yield
    finally:
        for part, name, buffer, value in buffers:
            part._buffers[name] = buffer  # a forward may have put another one there
            if buffer is not None and value is not None:
                put_back(buffer, value)


def snapshot(buffer: Tensor | None) -> Tensor | None:
    """A copy; None for what a forward cannot change in place by the usual means: sparse and meta tensors."""
    plain = buffer is not None and buffer.layout == torch.strided and not buffer.is_meta
    return buffer.detach().clone() if buffer is not None and plain else None


def put_back(tensor: Tensor, value: Tensor) -> None:
    """Give a tensor a value again, if it has another one."""
    # by value: batch normalisation writes its statistics without a new version of the tensor
    if not _equal(tensor, value):
        with torch.no_grad():
            tensor.copy_(value)


def _equal(a: Tensor, b: Tensor) -> bool:
    return bool(((a == b) | (a.isnan() & b.isnan())).all())
