"""Many tensors in one piece of memory, so that to make, to move and to send them is one call each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import prod

import torch
from torch import Tensor

from lightning_posttrain.core.output.result import Result
from lightning_posttrain.core.stream.metric import StreamMetric

WORD = 8
"""Bytes of the whole numbers that tensors are sent as; each begins with one."""


def allocate(metrics: Iterable[StreamMetric], device: torch.device) -> None:
    """Give metrics that have counted nothing their states on a device: views of one tensor for each type of number."""
    metrics = tuple(metrics)
    shapes: dict[torch.dtype, list[torch.Size]] = {}
    for metric in metrics:
        for state in metric.fixed().values():
            shapes.setdefault(state.dtype, []).append(state.shape)
    pieces = {dtype: iter(_zeros(sizes, dtype, device)) for dtype, sizes in shapes.items()}
    for metric in metrics:
        metric.hold({name: next(pieces[state.dtype]) for name, state in metric.fixed().items()}, device)


def _zeros(shapes: Sequence[torch.Size], dtype: torch.dtype, device: torch.device) -> list[Tensor]:
    sizes = [shape.numel() for shape in shapes]
    flat = torch.zeros(sum(sizes), dtype=dtype, device=device)
    return [piece.view(shape) for piece, shape in zip(torch.split(flat, sizes), shapes, strict=True)]


def in_one(states: Sequence[Tensor]) -> Tensor:
    """One after the other, flat: the memory that they lie in, where it is theirs alone and in this order, else a copy.

    Args:
        states: at least one, of one type.
    """
    first, end = states[0], 0
    memory = first.untyped_storage()
    for state in states:
        follows = state.untyped_storage().data_ptr() == memory.data_ptr() and state.storage_offset() == end
        if not (follows and state.is_contiguous()):
            return torch.cat([each.reshape(-1) for each in states])
        end += state.numel()
    if end * first.element_size() != memory.nbytes():
        return torch.cat([each.reshape(-1) for each in states])
    return first.as_strided((end,), (1,), 0)


def words_of(shape: Sequence[int], dtype: torch.dtype) -> int:
    """Whole numbers that a tensor is packed into."""
    return -(-prod(shape) * dtype.itemsize // WORD)


def packed(tensors: Sequence[Tensor]) -> Tensor:
    """The bytes of tensors ``(K,)`` int64.

    Example:
        >>> unpacked(packed([torch.ones(3), torch.tensor(True)]), [((3,), torch.float32), ((), torch.bool)])
        [tensor([1., 1., 1.]), tensor(True)]
    """
    parts = []
    for tensor in tensors:
        own = tensor.detach().contiguous().reshape(-1).view(torch.uint8)
        parts.append(own)
        if len(own) % WORD:
            parts.append(own.new_zeros(-len(own) % WORD))
    return torch.cat(parts).view(torch.int64) if parts else torch.zeros(0, dtype=torch.int64)


def unpacked(words: Tensor, kinds: Iterable[tuple[Sequence[int], torch.dtype]]) -> list[Tensor]:
    """The tensors whose bytes ``packed`` joined, as views; ``kinds`` are their shapes and types."""
    found, start = [], 0
    for shape, dtype in kinds:
        piece = words[start : start + words_of(shape, dtype)].view(torch.uint8)[: prod(shape) * dtype.itemsize]
        found.append(piece.view(dtype).view(tuple(shape)))
        start += words_of(shape, dtype)
    return found


def on_cpu(tensors: Sequence[Tensor]) -> list[Tensor]:
    """The tensors on the CPU, brought there in one copy; themselves where they are."""
    if all(tensor.device.type == "cpu" for tensor in tensors):
        return list(tensors)
    return unpacked(packed(tensors).cpu(), [(tensor.shape, tensor.dtype) for tensor in tensors])


def reports(metrics: Mapping[type[StreamMetric], StreamMetric]) -> dict[type[StreamMetric], Result]:
    """What metrics amount to, from states that come to the CPU in one copy."""
    states = [(kind, name, state) for kind, metric in metrics.items() for name, state in metric.states().items()]
    held: dict[type[StreamMetric], dict[str, Tensor]] = {kind: {} for kind in metrics}
    for (kind, name, _), state in zip(states, on_cpu([state for *_, state in states]), strict=True):
        held[kind][name] = state
    return {kind: metric.read(held[kind]) for kind, metric in metrics.items()}
