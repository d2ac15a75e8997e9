"""How much a callback asks of the model in a fit, beside what training does."""

from __future__ import annotations

import math
import time
from typing import Any

from lightning_posttrain.core.callback.options import at_least
from lightning_posttrain.core.capture.leaves import leaves

LEAST = 10.0
"""Seconds that are allowed after however short a training."""


class Overhead:
    """Counts the rows that training takes through the model, and those of explanations; copies count as one.

    Rows, where they tell: what is left out is then the same on every machine and in every run. Seconds, where a row
    costs next to nothing, as of a table.

    Args:
        most: what explanations may take, as a share of what training took; None for no limit.

    Raises:
        ValueError: ``most`` is below 0.

    Example:
        >>> import torch
        >>> overhead = Overhead(0.5)
        >>> overhead.see([torch.zeros(32, 3), torch.zeros(32)], 1)
        >>> overhead.spent += 6
        >>> overhead.left, overhead.seconds
        (10.0, 10.0)
    """

    def __init__(self, most: float | None) -> None:
        at_least("max_overhead", 0.0 if most is None else most, 0.0)
        self.most = math.inf if most is None else most
        self.begin()

    def __deepcopy__(self, memo: dict[int, Any]) -> Overhead:
        """Itself: what explains each of several targets shares one measure."""
        return self

    def begin(self) -> None:
        """A run begins."""
        self.trained, self.spent = 0, 0.0
        self._began = time.monotonic()

    def see(self, batch: Any, otherwise: int) -> None:
        """Count a batch of training; one whose rows cannot be told has as many as ``otherwise``."""
        if not self.trained:
            self._began = time.monotonic()
        tensors = (len(tensor) for _, tensor in leaves(batch, ()) if tensor.ndim)
        self.trained += next(tensors, otherwise)

    @property
    def left(self) -> float:
        """Rows that explanations may still take through the model."""
        return math.inf if self.most == math.inf else max(0.0, self.most * self.trained - self.spent)

    @property
    def seconds(self) -> float:
        """How long an explanation may take after a training of this length."""
        return math.inf if self.most == math.inf else max(LEAST, self.most * (time.monotonic() - self._began))
