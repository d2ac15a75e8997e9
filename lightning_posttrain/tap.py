"""Listen to what a module and its children return while a batch is evaluated."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

from torch import Tensor, nn
from torch.nn.modules.loss import _Loss
from torchmetrics import Metric

Firing: TypeAlias = "tuple[str, Any, Any]"
"""Dotted name of a module ("" for the LightningModule), its first argument, its output."""


class Tap:
    """Forward hooks on a module and its children that listen only while a batch is evaluated.

    Outputs are kept in a chain of tuples, which ``torch.compile`` traces without a graph break or a new
    guard. Tensors of more than two dimensions are no class scores and are not kept alive.
    """

    def __init__(self) -> None:
        self._handles: list[Any] = []
        self._listening = False
        self._chain: Any = None

    def attach(self, module: nn.Module) -> None:
        """Place the hooks; does nothing where they are already there."""
        if not self._handles:
            places = [("", module), *_callables(module)]
            self._handles = [child.register_forward_hook(self._hook(name)) for name, child in places]

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
            *firing, link = link
            firings.append((firing[0], firing[1], firing[2]))
        return firings[::-1]

    def _hook(self, name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(_module: nn.Module, args: Any, output: Any) -> None:
            if self._listening and not (isinstance(output, Tensor) and output.ndim > 2):
                self._chain = (name, args[0] if args else None, output, self._chain)

        return hook


def _callables(module: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    for name, child in module.named_children():
        if isinstance(child, (nn.ModuleList, nn.ModuleDict)):  # never called themselves
            yield from _callables(child, f"{prefix}{name}.")
        elif not isinstance(child, (_Loss, Metric)):
            yield f"{prefix}{name}", child
