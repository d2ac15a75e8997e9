"""Which parameters got a gradient in a fit."""

from __future__ import annotations

from torch import nn


class Trained:
    """Looks after each backward for what had no gradient yet, until nothing is left, or for the first steps.

    Attributes:
        names: of parameters that got one.
    """

    STEPS = 64
    """Backwards that are looked at: a step may train parts in turn, as a generator and a discriminator."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self._left: dict[str, nn.Parameter] = {}
        self._steps = 0

    def begin(self, module: nn.Module) -> None:
        """Training begins."""
        named = module.named_parameters(remove_duplicate=False)
        self._left = {name: parameter for name, parameter in named if parameter.requires_grad}
        self.names, self._steps = set(), 0

    def look(self) -> None:
        """A backward is done."""
        if not self._left:
            return
        found = [name for name, parameter in self._left.items() if parameter.grad is not None]
        self.names.update(found)
        for name in found:
            del self._left[name]
        self._steps += 1
        if self._steps >= self.STEPS:
            self._left = {}
