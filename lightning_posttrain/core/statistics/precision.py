"""What a float can hold: where figures are summed, and the largest loss that one row may have."""

from __future__ import annotations

import math

import torch
from torch import Tensor

LARGEST_LOSS = -math.log(torch.finfo(torch.float64).eps)
"""Log loss of a row whose class has probability 0, so that one such row leaves the mean a number; as scikit-learn."""

CLOSE = 2e-4
"""What two figures that are means in float32, or of a lower precision, may differ by and be the same."""


def wide(values: Tensor) -> Tensor:
    """``values`` in float64 where the device has it."""
    return values if values.device.type == "mps" else values.double()
