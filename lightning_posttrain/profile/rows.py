"""Where the rows of samples are in what networks are given, so that calls can be made with some of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lightning_posttrain.core.capture.batch_parts import Path, parts_of
from lightning_posttrain.core.capture.foreign import attribute


@dataclass(frozen=True)
class Axis:
    """Where the rows of a tensor are: along which side, and how many entries there are of each.

    A step may hand its images to the network as ``(N · T, ...)``, or sequences as ``(T, N, ...)``.
    """

    side: int
    each: int

    def picked(self, part: Tensor, index: Tensor) -> Tensor:
        """The entries of some rows ``(n,)``."""
        entries = (index[:, None] * self.each + torch.arange(self.each)).flatten()
        return part.index_select(self.side, entries.to(part.device))


def rows_in(batch: Any, size: Any) -> int:
    """How many samples a batch has: as it says itself, as a batch of graphs does; else by its tensors.

    Args:
        batch: of the loader; None is no sample.
        size: the loader's batch size, where it has one.
    """
    said = attribute(batch, "batch_size")
    if batch is None or (type(said) is int and said >= 0):
        return said or 0
    return rows_of(parts_of(batch), size)


def rows_of(parts: Mapping[Path, Tensor], size: Any) -> int:
    """How many samples tensors are of: as many as the loader draws, else the commonest length, and one without any.

    Example:
        >>> rows_of({("x",): torch.zeros(50, 4, 3), ("y",): torch.zeros(4)}, 4)
        4
        >>> rows_of({("x",): torch.zeros(3, 8), ("y",): torch.zeros(3)}, 4)
        3
        >>> rows_of({("x", place): torch.zeros(3, 8 + place, 9) for place in range(4)}, 4)  # a list of 4 images
        4
    """
    lengths = [len(part) for part in parts.values() if part.ndim]
    if not lengths:
        return 1
    if size in lengths or size in Counter(path[:-1] for path in parts if path and isinstance(path[-1], int)).values():
        return int(size)
    return max(Counter(lengths).items(), key=lambda pair: pair[1])[0]


def axes_in(inputs: Any, rows: int) -> dict[Path, Axis]:
    """Where the rows of the arguments of a call are; nothing where these cannot be divided.

    An object of another program may hold more than its tensors show, as a graph or a packed sequence, and is not
    divided.
    """
    return axes_of(parts_of(inputs), rows) if _is_bare(inputs) else {}


def axes_of(parts: Mapping[Path, Tensor], rows: int) -> dict[Path, Axis]:
    """Where the rows of tensors are; those without, as masks that all rows share, are left out.

    Whole numbers that are not of rows may be places in what is, as the edges of a graph: then nothing is divided.

    Example:
        >>> axes_of({(0,): torch.zeros(4, 8), (1,): torch.zeros(5, 4), (2,): torch.zeros(5, 5)}, 4)
        {(0,): Axis(side=0, each=1), (1,): Axis(side=1, each=1)}
        >>> axes_of({(0,): torch.zeros(12, 8)}, 4)
        {(0,): Axis(side=0, each=3)}
        >>> axes_of({(0,): torch.zeros(4, 8), (1,): torch.tensor([[0, 1, 3], [1, 0, 0]])}, 4)
        {}
    """
    found: dict[Path, Axis] = {}
    for path, part in parts.items():
        side = next((side for side in (0, 1) if side < part.ndim and part.shape[side] == rows), None)
        if side is not None:
            found[path] = Axis(side, 1)
    if not found and rows > 1:
        several = {path: part for path, part in parts.items() if part.ndim and len(part) and len(part) % rows == 0}
        found = {path: Axis(0, len(part) // rows) for path, part in several.items()}
    return {} if any(_may_point(part) for path, part in parts.items() if path not in found) else found


def _may_point(part: Tensor) -> bool:
    whole = not (part.is_floating_point() or part.is_complex() or part.dtype == torch.bool)
    return whole and part.ndim > 0 and len(part) != 1


def _is_bare(value: Any) -> bool:
    """Whether its tensors stand in tuples, lists and dictionaries alone."""
    if isinstance(value, Mapping):
        return all(map(_is_bare, value.values()))
    if type(value) in (tuple, list):
        return all(map(_is_bare, value))
    return isinstance(value, Tensor) or not parts_of(value)
