"""Listen to what a module and its parts return while a batch is evaluated."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.loss import _Loss
from torchmetrics import Metric, MetricCollection

from lightning_posttrain.core.capture.around import Around
from lightning_posttrain.core.capture.batch_parts import cloned
from lightning_posttrain.core.capture.memory import Memory

Arguments = tuple[tuple[Any, ...], Mapping[str, Any]]


class Kept(NamedTuple):
    """Arguments and keyword arguments of a call: themselves, and as they were before it, in tensors of their own."""

    given: Arguments
    before: Arguments


@dataclass(frozen=True, eq=False)
class Firing:
    """One call of a module.

    Args:
        name: its dotted name, "" for the LightningModule.
        inputs: its arguments and its keyword arguments, none where the output is not kept.
        output: what it gave; where that is a tensor whose shape no scores have, its ``Memory``, or None.
        mixes: whether it has a matrix of parameters, as a layer has and a softmax has not.
        call: number of the call.
        within: numbers of the calls that it was part of.
        kept: the arguments of an outermost call, where somebody makes it again; else None.
    """

    name: str
    inputs: Arguments
    output: Any
    mixes: bool
    call: int
    within: tuple[int, ...]
    kept: Kept | None = None

    @property
    def args(self) -> tuple[Any, ...]:
        """All of its arguments."""
        return (*self.inputs[0], *self.inputs[1].values())


class Tap:
    """Hooks that listen only while a batch is evaluated.

    What they hear is kept in a chain of tuples, which ``torch.compile`` traces without a graph break. A tensor of
    more than two dimensions is kept only where it has those of the targets; arguments are, until the end of the step.
    Where the source of the scores is known, its module alone is heard.
    """

    def __init__(self) -> None:
        self._handles: list[Any] = []
        self._mixes: dict[str, bool] = {}
        self._listening = False
        self._open = False
        self._noting = False
        self._keeping = False
        self._depth = 0
        self._only: Collection[str] | None = None
        self._shapes: tuple[torch.Size, ...] = ()
        self._chain: Any = None

    def attach(self, module: nn.Module) -> None:
        """Place hooks on a module and all of its parts; nothing where there are hooks already."""
        if self._handles:
            return
        for name, part in _parts(module, "", set()):
            self._mixes[name] = any(parameter.ndim > 1 for parameter in part.parameters())
            if isinstance(part, nn.TransformerEncoderLayer):
                self._handles.append(Around(part, self._beginning(name), self._ending(name)))
                continue
            self._handles.append(part.register_forward_pre_hook(self._beginning(name), with_kwargs=True))
            self._handles.append(part.register_forward_hook(self._ending(name), with_kwargs=True))

    def detach(self) -> None:
        """Remove the hooks and forget what they heard."""
        for handle in self._handles:
            handle.remove()
        self._handles = []
        self.take()

    def listen(
        self,
        *targets: torch.Size,
        only: Collection[str] | None = None,
        noting: bool = False,
        keeping: bool = False,
    ) -> None:
        """Forget the last batch and listen to the next.

        Args:
            *targets: shapes of its targets.
            only: names of the modules to listen to; None for all.
            noting: note where outputs lay that are not kept.
            keeping: copy what the outermost calls are given, which they may change.
        """
        self._keeping, self._depth = keeping, 0
        self._shapes, self._only, self._noting = tuple(shape[1:] for shape in targets), only, noting
        self._chain, self._listening, self._open = None, True, True

    def pause(self, *, paused: bool) -> None:
        """Hear nothing for a while, in the middle of a batch."""
        self._listening = self._open and not paused

    def take(self) -> list[Firing]:
        """Stop listening; what was heard, oldest first, a module after its parts."""
        link, self._chain, self._listening, self._open = self._chain, None, False, False
        events = []
        while link is not None:
            *event, link = link
            events.append(event)
        return self._calls(events[::-1])

    def _calls(self, events: list[Any]) -> list[Firing]:
        firings: list[Firing] = []
        begun: list[tuple[int, str, Any]] = []
        for number, (name, inputs, output) in enumerate(events):
            if inputs is None:
                begun.append((number, name, output))
                continue
            while begun and begun[-1][1] != name:  # a call that ended with an exception has no end
                begun.pop()
            call, _, kept = begun.pop() if begun else (number, name, None)
            within = tuple(n for n, *_ in begun)
            firings.append(Firing(name, inputs, output, self._mixes[name], call, within, kept))
        return firings

    def _beginning(self, name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(_module: nn.Module, args: Any, kwargs: Any) -> None:
            if self._listening and (self._only is None or name in self._only):
                kept = None
                if self._keeping and not torch.compiler.is_compiling():
                    # a step that runs inside of the module's own call is the outermost
                    kept = _kept(args, kwargs) if self._depth < 2 else None
                    self._depth += 1
                self._chain = (name, None, kept, self._chain)

        return hook

    def _ending(self, name: str) -> Callable[[nn.Module, Any, Any, Any], None]:
        def hook(_module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            if self._listening and (self._only is None or name in self._only):
                if self._keeping and not torch.compiler.is_compiling():
                    self._depth -= 1
                # a nested tensor, as of a TransformerEncoder with padding, has no shape
                wide = isinstance(output, Tensor) and (
                    output.is_nested or (self._only is None and output.ndim > 2 and self._is_other(output.shape))
                )
                given = ((), {}) if wide else (args, kwargs)
                noted = wide and not torch.compiler.is_compiling() and self._noting
                kept = None if wide else output
                self._chain = (name, given, Memory.of(output) if noted else kept, self._chain)

        return hook

    def _is_other(self, shape: torch.Size) -> bool:
        return shape[1:] not in self._shapes and shape[2:] not in self._shapes


def _kept(args: Any, kwargs: Any) -> Kept | None:
    """The arguments of a call with copies; None where an object of another program cannot be copied."""
    try:
        return Kept((args, kwargs), cloned((args, kwargs)))
    except Exception:  # a step goes on, whatever the copy of a stranger's object raises
        return None


def _parts(module: nn.Module, name: str, seen: set[nn.Module]) -> Iterator[tuple[str, nn.Module]]:
    """A module and its parts that can give scores, without scripts, which take no hooks."""
    if (
        module not in seen
        and not isinstance(module, (_Loss, Metric, MetricCollection, torch.jit.ScriptModule))
        and not _plain(module)
    ):
        seen.add(module)
        yield name, module
        # hooks on parts would change its way
        for child, part in () if isinstance(module, nn.TransformerEncoderLayer) else module.named_children():
            yield from _parts(part, f"{name}.{child}".lstrip("."), seen)


def _plain(module: nn.Module) -> bool:
    """Whether it is one of torch's own functions in the form of a module, as a ReLU, a softmax, a pooling."""
    return type(module).__module__.startswith("torch.nn.modules") and not any(
        (module._modules, module._parameters, module._buffers)
    )


def inside_step(firings: list[Firing], *, wrapped: bool) -> list[Firing]:
    """Those inside a step, which under DDP runs inside of the module's own call, whose end then is the last."""
    return firings[:-1] if wrapped and firings and firings[-1].name == "" else firings


def outermost(firings: list[Firing]) -> list[Firing]:
    """Those that were not part of another one."""
    calls = {firing.call for firing in firings}
    return [firing for firing in firings if calls.isdisjoint(firing.within)]
