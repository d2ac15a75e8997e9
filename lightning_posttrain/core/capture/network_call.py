"""The call of a network that gave a prediction: what it was given, and how to ask it again with other numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from lightning_posttrain.core.capture.batch_parts import Path, parts_of, replaced
from lightning_posttrain.core.capture.call_source import CallSource
from lightning_posttrain.core.capture.memory import shares_memory
from lightning_posttrain.core.capture.step import Step
from lightning_posttrain.core.capture.tap import Firing

WORDS = ("input_ids", "tokens", "token_ids", "ids", "text", "x", "inputs", "input")
"""Names of arguments that are tokens, where several whole numbers could be."""


@dataclass(frozen=True, eq=False)
class NetworkCall:
    """How a network is called.

    Args:
        module: dotted name of the module, "" for the LightningModule.
        number: of the call among that module's.
        calls: how many there are in a step.
        source: what of the call is the prediction; its number counts inside the call.
        signal: paths of the arguments that are varied; several are columns of one table.
        context: paths of those that go along, row by row.
        inputs: all arguments, of the step that it was learned from.
        like: dtype and width of each signal.
    """

    module: str
    number: int
    calls: int
    source: CallSource
    signal: tuple[Path, ...]
    context: tuple[Path, ...]
    inputs: tuple[tuple[Any, ...], Mapping[str, Any]]
    like: tuple[tuple[torch.dtype, int], ...]

    def taken(self, firings: Sequence[Firing]) -> tuple[Tensor, tuple[Tensor, ...]] | None:
        """What a step gave to the call: what is varied, and what goes along; None where it was called otherwise."""
        own = [firing for firing in firings if firing.name == self.module]
        if len(own) != self.calls:
            return None
        parts = parts_of(own[self.number].inputs)
        if any(path not in parts for path in (*self.signal, *self.context)):
            return None
        signal = [parts[path].detach() for path in self.signal]
        return joined(signal), tuple(parts[path].detach() for path in self.context)

    def again(self, root: nn.Module, signal: Tensor, context: Sequence[Tensor]) -> Tensor:
        """The prediction for other numbers, from the module as it is."""
        pieces = torch.split(signal, [width for _, width in self.like], 1) if len(self.like) > 1 else (signal,)
        cast = (
            piece if piece.dtype == dtype or dtype.is_floating_point else piece.round().to(dtype)
            for piece, (dtype, _) in zip(pieces, self.like, strict=True)
        )
        new = {**dict(zip(self.signal, cast, strict=True)), **dict(zip(self.context, context, strict=True))}
        return called(root, self.module, self.source, replaced(self.inputs, new))


def joined(signal: Sequence[Tensor]) -> Tensor:
    """One tensor; several are columns of one table."""
    if len(signal) == 1:
        return signal[0]
    kind = next((one.dtype for one in signal if one.is_floating_point()), torch.float32)
    return torch.cat([one.to(kind) for one in signal], 1)


def called(root: nn.Module, name: str, source: CallSource, inputs: tuple[tuple[Any, ...], Mapping[str, Any]]) -> Tensor:
    """The prediction that a call of a module gives, of its own or of a part of it."""
    (args, kwargs), module = inputs, root.get_submodule(name)
    if source.module == name:
        return _picked(module(*args, **kwargs), source)
    return _inside(root, source, lambda: module(*args, **kwargs))


def _picked(output: Any, source: CallSource) -> Tensor:
    found = source.of(output)
    if found is None:
        raise ValueError(f"`{source.module or 'forward'}` gives no tensor at {source.path or 'its output'} any more")
    return found


def _inside(root: nn.Module, source: CallSource, run: Callable[[], Any]) -> Tensor:
    """What a module gives while another one runs that it is a part of."""
    heard: list[Any] = []
    handle = root.get_submodule(source.module).register_forward_hook(lambda _m, _a, output: heard.append(output))
    try:
        run()
    finally:
        handle.remove()
    return _picked(heard[source.number], source)


def network_call(source: CallSource, giver: Firing, step: Step, targets: Sequence[Tensor]) -> NetworkCall | None:
    """How the network was called that gave a prediction; None where it was given what other modules made.

    Args:
        source: of the prediction.
        giver: the call that it was told from.
        step: all that was heard.
        targets: tensors that are no inputs, although they may be arguments.
    """
    firings = step.inside
    outer = next((firing for firing in firings if firing.call in giver.within[:1]), giver)
    parts = parts_of(outer.inputs)
    signal = _signal(parts, step.inputs, targets)
    if not signal:
        return None
    of_the_batch = all(any(shares_memory(parts[p], part) for part in step.parts.values()) for p in signal)
    if not of_the_batch and any(f.mixes and f.call < outer.call for f in firings if outer.call not in f.within):
        return None
    rows = len(parts[signal[0]])
    context = tuple(p for p, part in parts.items() if p not in signal and part.ndim and len(part) == rows)
    own = [firing for firing in firings if firing.name == outer.name]
    inside = [f for f in firings if f.name == source.module and (f is outer or outer.call in f.within)]
    return NetworkCall(
        outer.name, own.index(outer), len(own), replace(source, number=inside.index(giver), calls=len(inside)), signal,
        context, outer.inputs, tuple((parts[p].dtype, parts[p].shape[1] if parts[p].ndim > 1 else 1) for p in signal),
    )  # fmt: skip


def _signal(parts: Mapping[Path, Tensor], given: Any, targets: Sequence[Tensor]) -> tuple[Path, ...]:
    """The arguments that carry what the network sees."""
    free = {
        path: part for path, part in parts.items()
        if part.ndim >= 2 and part.dtype != torch.bool and not part.is_complex()
        and not any(shares_memory(part, target) for target in targets)
    }  # fmt: skip
    if isinstance(given, Tensor):
        said = next((path for path, part in parts.items() if part is given or shares_memory(part, given)), None)
        if said is not None:
            return (said,)
    floats = {path: part for path, part in free.items() if part.is_floating_point()}
    whole = {path: part for path, part in free.items() if not part.is_floating_point() and part.ndim == 2}
    wide = [path for path, part in floats.items() if part.ndim >= 3]
    if wide:
        return (max(wide, key=lambda path: floats[path].numel()),)
    rows = {len(part) for part in free.values()}
    if not floats or any(part.shape == f.shape for part in whole.values() for f in floats.values()) or len(rows) > 1:
        named = sorted(whole, key=lambda path: WORDS.index(path[-1]) if path[-1] in WORDS else len(WORDS))
        return tuple(named[:1]) or tuple(floats)[:1]
    return (*floats, *whole)
