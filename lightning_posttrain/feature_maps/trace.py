"""One forward of a network as a tree of calls, each with the grid that its output lies on."""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from lightning_posttrain.attribution import Layout, layout, to_maps
from lightning_posttrain.core.capture.leaves import leaves

Grid: TypeAlias = tuple[int, ...]
COMPILED = "_orig_mod."
"""What ``torch.compile`` puts into the names of parts."""
NO_FEATURES = (nn.Identity, nn.modules.dropout._DropoutNd, nn.Softmax)
"""Give what they are given, in evaluation, or the weights of attention, which only look like maps."""


@dataclass(eq=False)
class Call:
    """A call of a module: what it gave, and the grids of what its parts gave.

    Args:
        name: dotted name of the module, "" for the network itself.
        kind: name of its class.
        is_layer: whether it has no parts, or is a normalisation.
        parent: the call that it stands in, or None.
        before: grid of what it was given, or None.
        after: grid of what it gave, or None.
        shape: of that, without the samples.
        inside: grids of what its parts gave.
        is_output: whether what it gave is what the network gave.
        branched: whether it was given maps on several grids.
    """

    name: str
    kind: str
    is_layer: bool
    parent: Call | None
    before: Grid | None
    after: Grid | None = None
    shape: tuple[int, ...] = ()
    inside: set[Grid] = field(default_factory=set)
    is_output: bool = False
    branched: bool = False

    @property
    def is_block(self) -> bool:
        """Whether it works at one resolution or leads from one to the next; else it is a network of stages."""
        return len((self.inside | {self.before, self.after}) - {None}) <= 2

    @property
    def is_open(self) -> bool:
        """Whether all that it stands in are networks of stages."""
        return self.parent is None or (not self.parent.is_block and self.parent.is_open)


@dataclass(frozen=True, eq=False)
class Trace:
    """Calls in the order of their ends.

    Args:
        calls: those of all modules but scripted ones and ``NO_FEATURES``.
        branches: modules that took and gave maps of several resolutions at a time.
    """

    calls: tuple[Call, ...]
    branches: tuple[str, ...]


def plain_name(name: str) -> str:
    """The name of a part without what compiling puts into it.

    Example:
        >>> plain_name("model._orig_mod.layer1")
        'model.layer1'
    """
    return name.replace(COMPILED, "")


def hooked_parts(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Parts that take hooks, by plain name: all but scripts."""
    for name, part in module.named_modules():
        if not isinstance(part, torch.jit.ScriptModule):
            yield plain_name(name), part


def laid_out(output: Any, rows: int, spatial: Grid) -> tuple[Tensor, Layout] | None:
    """The first tensor of an output that has a row for each sample, and lies on a grid over the input; else None."""
    return next(_all_laid_out(output, rows, spatial), None)


def _all_laid_out(output: Any, rows: int, spatial: Grid) -> Iterator[tuple[Tensor, Layout]]:
    for _, tensor in leaves(output, ()):
        if not tensor.is_nested and tensor.ndim > 2 and len(tensor) == rows and tensor.is_floating_point():
            laid = layout(tensor, spatial)
            if laid is not None and min(laid[1]) > 1:
                yield tensor, laid


def trace(module: nn.Module, run: Callable[[], Any], *, rows: int, spatial: Grid) -> Trace:
    """Run a network once and note its calls.

    Args:
        module: the network.
        run: calls it.
        rows: samples that it is called with.
        spatial: the sides of a sample.
    """
    noted = _Noted(rows, spatial)
    with _hooks(module, noted.begin, noted.end), torch.no_grad():
        run()
    return Trace(tuple(noted.done), tuple(dict.fromkeys(noted.branches)))


class _Noted:
    """What hooks note of a forward."""

    def __init__(self, rows: int, spatial: Grid) -> None:
        self.rows, self.spatial = rows, spatial
        self.done: list[Call] = []
        self.branches: list[str] = []
        self._stack: list[Call] = []
        self._given: list[tuple[Call, weakref.ref[Tensor]]] = []

    def begin(self, name: str, part: nn.Module, given: Any) -> None:
        """A call begins."""
        is_layer = next(part.children(), None) is None or "Norm" in type(part).__name__
        outer = self._stack[-1] if self._stack else None
        grids = self._grids(given)
        before, branched = next(iter(grids), None), len(set(grids)) > 1
        self._stack.append(Call(name, type(part).__name__, is_layer, outer, before, branched=branched))

    def end(self, name: str, part: nn.Module, output: Any) -> None:
        """A call ends."""
        call = self._stack.pop()
        if isinstance(part, NO_FEATURES):
            return
        found = list(_all_laid_out(output, self.rows, self.spatial))
        if call.branched and len({laid[1] for _, laid in found}) > 1:
            self.branches.append(name)
        if found:
            tensor, laid = found[0]
            call.after, call.shape = laid[1], (to_maps(tensor, laid).shape[1], *laid[1])
            self._given.append((call, weakref.ref(tensor)))
            for outer in self._stack:
                outer.inside.add(laid[1])
        if not self._stack:
            kept = {id(tensor) for _, tensor in leaves(output, ())}
            for each, given in self._given:
                each.is_output = id(given()) in kept
        self.done.append(call)

    def _grids(self, given: Any) -> list[Grid]:
        return [laid[1] for _, laid in _all_laid_out(given, self.rows, self.spatial)]


@contextmanager
def _hooks(
    module: nn.Module, begin: Callable[[str, nn.Module, Any], None], end: Callable[[str, nn.Module, Any], None]
) -> Iterator[None]:
    handles = []
    try:
        for name, part in hooked_parts(module):
            handles.append(part.register_forward_pre_hook(_beginning(name, begin), with_kwargs=True))
            handles.append(part.register_forward_hook(_ending(name, end)))
        yield
    finally:
        for handle in handles:
            handle.remove()


def _beginning(name: str, begin: Callable[[str, nn.Module, Any], None]) -> Callable[[nn.Module, Any, Any], None]:
    return lambda part, args, kwargs: begin(name, part, (args, kwargs))


def _ending(name: str, end: Callable[[str, nn.Module, Any], None]) -> Callable[[nn.Module, Any, Any], None]:
    return lambda part, _args, output: end(name, part, output)


@contextmanager
def outputs_of(
    module: nn.Module, names: tuple[str, ...], take: Callable[[str, Any], None], *, times: Counter[str]
) -> Iterator[None]:
    """Give what some layers give, at each of their calls, to ``take``, and count the calls."""
    parts = dict(hooked_parts(module))

    def hook(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def note(_part: nn.Module, _args: Any, output: Any) -> None:
            times[name] += 1
            take(name, output)

        return note

    handles = [parts[name].register_forward_hook(hook(name)) for name in names if name in parts]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
