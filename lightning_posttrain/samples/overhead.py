"""How much a callback asks of the model in a fit, beside what training does."""

from __future__ import annotations

import math
from typing import Any

from lightning_posttrain.core.capture.leaves import leaves


class Overhead:
    """Counts the rows that training takes through the model, and those of explanations; copies count as one.

    Rows, not seconds: what is left out is then the same on every machine and in every run.

    Args:
        most: rows of explanations for each row of training; None for no limit.

    Example:
        >>> import torch
        >>> overhead = Overhead(0.5)
        >>> overhead.see([torch.zeros(32, 3), torch.zeros(32)], 1)
        >>> overhead.spent += 6
        >>> overhead.left
        10.0
    """

    def __init__(self, most: float | None) -> None:
        self.most = math.inf if most is None else most
        self.begin()

    def __deepcopy__(self, memo: dict[int, Any]) -> Overhead:
        """Itself: what explains each of several targets shares one measure."""
        return self

    def begin(self) -> None:
        """A run begins."""
        self.trained, self.spent = 0, 0.0

    def see(self, batch: Any, otherwise: int) -> None:
        """Count a batch of training; one whose rows cannot be told has as many as ``otherwise``."""
        tensors = (len(tensor) for _, tensor in leaves(batch, ()) if tensor.ndim)
        self.trained += next(tensors, otherwise)

    @property
    def left(self) -> float:
        """Rows that explanations may still take through the model."""
        return math.inf if self.most == math.inf else max(0.0, self.most * self.trained - self.spent)
