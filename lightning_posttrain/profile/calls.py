"""The calls of networks that one step made, kept so that they can be made again with some of their rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from lightning_posttrain.core.capture.batch_parts import Path, cloned, parts_of, replaced
from lightning_posttrain.core.capture.tap import Arguments, Firing
from lightning_posttrain.profile.rows import Axis, axes_in

MOST_BYTES = 128 << 20
"""Of the arguments that are kept, at most; above it they are kept of as few rows as fit."""


class NoCallError(ValueError):
    """A step of which no call of a network was heard."""


@dataclass(frozen=True, eq=False)
class HeardCall:
    """One call of a module.

    Args:
        module: its dotted name, ``""`` for the LightningModule.
        inputs: its arguments and keyword arguments, in memory of their own.
        axes: of those of its tensors that have rows, by path; none where they cannot be divided.
    """

    module: str
    inputs: Arguments
    axes: Mapping[Path, Axis]

    def ready(self, index: Tensor | None, device: torch.device) -> Arguments:
        """The arguments on a device, of some rows ``(n,)``, or all."""
        parts = parts_of(self.inputs)
        cut = {
            path: part if index is None or path not in self.axes else self.axes[path].picked(part, index)
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
        complete: these are all that the step had.
    """

    calls: tuple[HeardCall, ...]
    rows: int
    complete: bool = True

    @property
    def divides(self) -> bool:
        """Whether the calls can be made with some of the rows: each has a tensor with a known place for them."""
        return all(call.axes for call in self.calls)

    def whole(self) -> HeardCalls:
        """The same calls, which are made with all of their rows alone."""
        return replace(self, calls=tuple(replace(call, axes={}) for call in self.calls))

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


def heard_calls(firings: Sequence[Firing], rows: int) -> HeardCalls:
    """What was heard of a step, on the CPU.

    Args:
        firings: calls that no other was around.
        rows: samples of the step's batch.

    Raises:
        NoCallError: nothing was heard of that can be made again.
    """
    found = [(firing.name, firing.kept.before) for firing in firings if firing.kept is not None and not _judges(firing)]
    found = [(name, inputs) for name, inputs in found if parts_of(inputs)]
    if not found:
        raise NoCallError("the step called no network whose arguments could be kept.")
    if not rows:
        raise NoCallError("no batch had a row.")
    calls = tuple(HeardCall(name, inputs, axes_in(inputs, rows)) for name, inputs in found)
    heavy = sum(part.nbytes for call in calls for part in parts_of(call.inputs).values())
    kept = max(1, min(rows, rows * MOST_BYTES // max(heavy, 1)))
    if not HeardCalls(calls, rows).divides:
        return HeardCalls(tuple(_own(call, None) for call in calls), rows)
    return HeardCalls(tuple(_own(call, torch.arange(kept)) for call in calls), kept, complete=kept == rows)


def plainer(first: HeardCalls | None, second: HeardCalls) -> HeardCalls:
    """Of two steps that with fewer calls, the first of equal ones: a first step may also draw or count something."""
    return second if first is None or len(second.calls) < len(first.calls) else first


def _judges(firing: Firing) -> bool:
    """Whether it is a loss or a metric in the form of a module: no layer, and all that it gives are single numbers."""
    given = parts_of(firing.output).values()
    return not firing.mixes and bool(given) and all(part.ndim == 0 for part in given)


def _own(call: HeardCall, index: Tensor | None) -> HeardCall:
    with torch.inference_mode(False):
        inputs: Arguments = cloned(call.ready(index, torch.device("cpu")))
    return replace(call, inputs=inputs)
