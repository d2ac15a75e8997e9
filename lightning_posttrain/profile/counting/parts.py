"""The modules of a network as they are called: who calls whom, with what shapes, and what each does itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.loss import _Loss
from torch.nn.utils.parametrize import is_parametrized
from torch.utils._pytree import tree_leaves

Shapes = tuple[tuple[int, ...], ...]


@dataclass(eq=False)
class Part:
    """One module of a network, and what was seen of it.

    ``products`` has FLOPs by operation, ``operations`` how often each was done, ``uncounted`` those without a formula.
    """

    name: str
    module: nn.Module
    calls: int = 0
    inputs: Shapes = ()
    outputs: Shapes = ()
    products: Counter[str] = field(default_factory=Counter)
    operations: Counter[str] = field(default_factory=Counter)
    uncounted: Counter[str] = field(default_factory=Counter)
    calls_others: bool = False
    ended: bool = False

    @property
    def flops(self) -> int:
        """Of all its calls."""
        return self.products.total()

    @property
    def works(self) -> bool:
        """Whether it did more than move numbers."""
        return bool(self.products or self.operations or self.uncounted)

    def commonest(self, limit: int = 3) -> tuple[str, ...]:
        """Names of its operations: those that took FLOPs, the most first, then those that it did most often."""
        names = [name for counter in (self.products, self.operations) for name, _ in counter.most_common()]
        return tuple(dict.fromkeys(names))[:limit]


class Calls:
    """The calls of a network's modules during one run.

    Attributes:
        order: each part at its first call (False), and at the end of its first call (True).
    """

    def __init__(self, module: nn.Module) -> None:
        self.root = Part("", module)
        self.order: list[tuple[Part, bool]] = []
        self._running = [self.root]

    @property
    def running(self) -> Part:
        """The part whose forward is at work."""
        return self._running[-1]

    @contextmanager
    def heard(self) -> Iterator[None]:
        """Hooks on every module that takes some; all are gone afterwards."""
        with ExitStack() as hooks:
            for name, module in hookable(self.root.module):
                part = Part(name, module) if name else self.root
                # around the hooks of others, whose work is the module's; called where a forward raises too
                before = module.register_forward_pre_hook(self._entering(part), prepend=True, with_kwargs=True)
                hooks.callback(before.remove)
                after = module.register_forward_hook(self._leaving(part), with_kwargs=True, always_call=True)
                hooks.callback(after.remove)
            yield
        if not self.root.calls:
            self.order.append((self.root, True))

    def _entering(self, part: Part) -> Any:
        def enter(_module: nn.Module, args: Any, kwargs: Any) -> None:
            caller = self.running
            caller.calls_others |= caller is not part
            part.calls += 1
            if part.calls == 1:
                self.order.append((part, False))
                part.inputs = shapes_of((args, kwargs))
            self._running.append(part)

        return enter

    def _leaving(self, part: Part) -> Any:
        def leave(_module: nn.Module, _args: Any, _kwargs: Any, output: Any) -> None:
            # a forward that was left without a word, as by a signal, leaves its parts behind
            while self._running.pop() is not part:
                pass
            part.outputs = part.outputs or shapes_of(output)
            if not part.ended:
                part.ended = True
                self.order.append((part, True))

        return leave


def hookable(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Modules whose calls can be heard: no scripted ones, no losses, and not what makes up a parametrised weight."""
    made_of = {
        inner
        for part in module.modules()
        if is_parametrized(part)
        for inner in part.parametrizations.modules()  # type: ignore[union-attr]
    }
    for name, part in module.named_modules():
        if part not in made_of and not isinstance(part, (torch.jit.ScriptModule, _Loss)):
            yield name, part


def own_parameters(module: nn.Module) -> Iterator[nn.Parameter]:
    """Parameters of a module and of none of its parts; the originals of a parametrised weight are its own."""
    yield from (parameter for parameter in module._parameters.values() if parameter is not None)
    if is_parametrized(module):
        yield from module.parametrizations.parameters()  # type: ignore[union-attr]


def kind_of(module: nn.Module) -> str:
    """The class of a module, of a scripted one that which was scripted."""
    scripted = module.original_name if isinstance(module, torch.jit.ScriptModule) else None
    return str(scripted or type(module).__name__)


def shapes_of(value: Any) -> Shapes:
    """Shapes of the tensors in ``value``, at any depth; a ragged dimension is -1.

    Example:
        >>> shapes_of((torch.zeros(2, 3), {"mask": torch.zeros(2)}))
        ((2, 3), (2,))
    """
    return tuple(_shape(leaf) for leaf in tree_leaves(value) if isinstance(leaf, Tensor))


def _shape(tensor: Tensor) -> tuple[int, ...]:
    if tensor.is_nested and tensor.layout is torch.strided:
        return (int(tensor.size(0)), *[-1] * (tensor.ndim - 1))
    return tuple(size if isinstance(size, int) else -1 for size in tensor.shape)
