"""How much a callback asks of the model at the end of a fit, beside what training did."""

from __future__ import annotations

import math
import time
from typing import Any

from lightning_posttrain.core.capture.leaves import leaves

LEAST = 10.0
"""Seconds that are allowed after however short a training."""


ROWS = 1.0
"""Rows that explanations take through the model, at most, for each row that was trained on."""


class FitLimit:
    """Counts the rows that training takes through the model, and those of explanations; copies count as one.

    Rows, where they tell: what is left out is then the same on every machine and in every run. Seconds, where a row
    costs next to nothing, as of a table.

    Args:
        share: of the seconds of training that an explanation may take; None for no limit, of rows neither.

    Example:
        >>> import torch
        >>> limit = FitLimit(0.5)
        >>> limit.see([torch.zeros(32, 3), torch.zeros(32)], 1)
        >>> limit.spent += 6
        >>> limit.left, limit.seconds
        (26.0, 10.0)
    """

    def __init__(self, share: float | None) -> None:
        self.share = share
        self.most = math.inf if share is None else ROWS
        self.begin()

    def __deepcopy__(self, memo: dict[int, Any]) -> FitLimit:
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
        return math.inf if self.share is None else max(LEAST, self.share * (time.monotonic() - self._began))
