"""Listen to what a module and its parts return while a batch is evaluated."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.modules.loss import _Loss
from torchmetrics import Metric

Firing: TypeAlias = "tuple[str, tuple[Any, ...], Any]"
"""Dotted name of a module ("" for the LightningModule), its positional arguments, its output."""


class Tap:
    """Forward hooks that listen only while a batch is evaluated.

    What they hear is kept in a chain of tuples, which ``torch.compile`` traces without a graph break or a new
    guard. Outputs of more than two dimensions are no class scores and are not kept; arguments are, until the end of
    the step, to tell what was taken in by whom.
    """

    def __init__(self) -> None:
        self._handles: list[Any] = []
        self._listening = False
        self._chain: Any = None

    def attach(self, module: nn.Module, names: Collection[str] | None = None) -> None:
        """Place hooks on a module and all of its parts, or on those named; nothing where there are hooks already."""
        if self._handles:
            return
        for name, part in _parts(module, "", set()):
            if names is None or name in names:
                self._handles.append(part.register_forward_hook(self._hook(name)))

    def detach(self) -> None:
        """Remove the hooks and forget what they heard."""
        for handle in self._handles:
            handle.remove()
        self._handles = []
        self.take()

    def listen(self) -> None:
        """Forget the last batch and listen to the next."""
        self._chain, self._listening = None, True

    def take(self) -> list[Firing]:
        """Stop listening; what was heard, oldest first."""
        link, self._chain, self._listening = self._chain, None, False
        firings: list[Firing] = []
        while link is not None:
            name, args, output, link = link
            firings.append((name, args, output))
        return firings[::-1]

    def _hook(self, name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(_module: nn.Module, args: Any, output: Any) -> None:
            if self._listening and not (isinstance(output, Tensor) and output.ndim > 2):
                self._chain = (name, args, output, self._chain)

        return hook


def _parts(module: nn.Module, name: str, seen: set[nn.Module]) -> Iterator[tuple[str, nn.Module]]:
    """A module and its parts, without losses and metrics, which give no scores, and scripts, which take no hooks."""
    if module not in seen and not isinstance(module, (_Loss, Metric, torch.jit.ScriptModule)):
        seen.add(module)
        yield name, module
        for child, part in module.named_children():
            yield from _parts(part, f"{name}.{child}".lstrip("."), seen)


def outermost(firings: list[Firing]) -> list[Firing]:
    """Those that were not heard from inside another one: a module is heard after its parts."""
    kept: list[Firing] = []
    later: set[str] = set()
    for firing in reversed(firings):
        name = firing[0]
        above = {name.rsplit(".", depth)[0] for depth in range(1, name.count(".") + 1)} | ({""} if name else set())
        if not above & later:
            kept.append(firing)
        later.add(name)
    return kept[::-1]
