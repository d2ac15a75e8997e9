"""The calls of networks that one step made, kept so that they can be made again with some of their rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lightning_posttrain.core.capture.batch_parts import Path, cloned, parts_of, replaced
from lightning_posttrain.core.capture.tap import Arguments, Firing

MOST_BYTES = 256 << 20
"""Of the arguments that are kept, at most; above it they are kept of as few rows as fit."""


class NoCallError(ValueError):
    """A step of which no call of a network was heard."""


@dataclass(frozen=True)
class Axis:
    """Where the rows of a tensor are: along which side, and how many entries there are of each.

    A step may hand its images to the network as ``(N · T, ...)``, or sequences as ``(T, N, ...)``.
    """

    side: int
    each: int


@dataclass(frozen=True, eq=False)
class HeardCall:
    """One call of a module.

    Args:
        module: its dotted name, ``""`` for the LightningModule.
        inputs: its arguments and keyword arguments, in memory of their own.
        axes: of those of its tensors that have rows, by path.
    """

    module: str
    inputs: Arguments
    axes: Mapping[Path, Axis]

    def ready(self, index: Tensor | None, device: torch.device) -> Arguments:
        """The arguments on a device, of some rows ``(n,)``, or all."""
        parts = parts_of(self.inputs)
        cut = {
            path: part if index is None or path not in self.axes else _picked(part, index, self.axes[path])
            for path, part in parts.items()
        }
        ready: Arguments = replaced(self.inputs, {path: part.to(device) for path, part in cut.items()})
        return ready


@dataclass(frozen=True, eq=False)
class HeardCalls:
    """The calls of one step, in their order.

    Args:
        calls: of modules that no other call was around, as an encoder's and then a decoder's.
        rows: samples of the step that are kept.
    """

    calls: tuple[HeardCall, ...]
    rows: int

    @property
    def divides(self) -> bool:
        """Whether the calls can be made with some of the rows: each has a tensor with a known place for them."""
        return all(call.axes for call in self.calls)

    def ready(self, rows: int | Tensor | None, device: torch.device) -> list[Arguments]:
        """The arguments of all calls on a device.

        Args:
            rows: how many of the first, or which; None, or where they cannot be divided: all as they came.
            device: of the module.
        """
        index = torch.arange(rows) % self.rows if isinstance(rows, int) else rows
        return [call.ready(index if self.divides else None, device) for call in self.calls]

    def run(self, root: nn.Module, ready: Sequence[Arguments]) -> Any:
        """Make the calls once, with arguments as ``ready`` gives them; what the last gives."""
        output = None
        for call, (args, kwargs) in zip(self.calls, ready, strict=True):
            output = root.get_submodule(call.module)(*args, **kwargs)
        return output


def heard_calls(firings: Sequence[Firing], parts: Mapping[Path, Tensor], *, size: Any, most: int) -> HeardCalls:
    """What was heard of a step, on the CPU.

    Args:
        firings: calls that no other was around.
        parts: the tensors of the step's batch.
        size: the loader's batch size, where it has one.
        most: rows that are kept at most.

    Raises:
        NoCallError: nothing was heard of that can be made again.
    """
    found = [(firing.name, firing.kept.before) for firing in firings if firing.kept is not None]
    found = [(name, inputs) for name, inputs in found if parts_of(inputs)]
    if not found:
        raise NoCallError("the step called no network whose arguments could be kept.")
    rows = rows_of(parts, size)
    calls = [HeardCall(name, inputs, axes_of(parts_of(inputs), rows)) for name, inputs in found]
    heavy = sum(part.nbytes for call in calls for part in parts_of(call.inputs).values())
    kept = max(1, min(rows, most, rows * MOST_BYTES // max(heavy, 1)))
    whole = HeardCalls(tuple(calls), rows)
    if not whole.divides:
        return HeardCalls(tuple(_own(call, None) for call in calls), rows)
    return HeardCalls(tuple(_own(call, torch.arange(kept)) for call in calls), kept)


def rows_of(parts: Mapping[Path, Tensor], size: Any) -> int:
    """How many samples a batch has: as many as the loader draws, else the commonest length of its tensors.

    Example:
        >>> rows_of({("x",): torch.zeros(50, 4, 3), ("y",): torch.zeros(4)}, 4)
        4
        >>> rows_of({("x",): torch.zeros(3, 8), ("y",): torch.zeros(3)}, 4)
        3
    """
    lengths = [len(part) for part in parts.values() if part.ndim]
    if size in lengths or not lengths:
        return int(size) if lengths else 1
    return max(Counter(lengths).items(), key=lambda pair: pair[1])[0] or 1


def axes_of(parts: Mapping[Path, Tensor], rows: int) -> dict[Path, Axis]:
    """Where the rows of tensors are; those without, as masks that all rows share, are left out.

    Example:
        >>> axes_of({(0,): torch.zeros(4, 8), (1,): torch.zeros(5, 4), (2,): torch.zeros(5, 5)}, 4)
        {(0,): Axis(side=0, each=1), (1,): Axis(side=1, each=1)}
        >>> axes_of({(0,): torch.zeros(12, 8)}, 4)
        {(0,): Axis(side=0, each=3)}
    """
    found: dict[Path, Axis] = {}
    for path, part in parts.items():
        side = next((side for side in (0, 1) if side < part.ndim and part.shape[side] == rows), None)
        if side is not None:
            found[path] = Axis(side, 1)
    if found or not rows:
        return found
    several = {path: part for path, part in parts.items() if part.ndim and len(part) and len(part) % rows == 0}
    return {path: Axis(0, len(part) // rows) for path, part in several.items()}


def _picked(part: Tensor, index: Tensor, axis: Axis) -> Tensor:
    entries = (index[:, None] * axis.each + torch.arange(axis.each)).flatten()
    return part.index_select(axis.side, entries.to(part.device))


def _own(call: HeardCall, index: Tensor | None) -> HeardCall:
    with torch.inference_mode(False):
        inputs: Arguments = cloned(call.ready(index, torch.device("cpu")))
    return HeardCall(call.module, inputs, call.axes)
