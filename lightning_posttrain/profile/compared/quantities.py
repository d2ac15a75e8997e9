"""What a model costs, in the units that people read."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from lightning_posttrain.core.output.quantities import duration, scaled


class Quantity(NamedTuple):
    """A cost: how a column and an axis are headed, and how a value is written."""

    title: str
    axis: str
    write: Callable[[float], str]


QUANTITIES = {
    "parameters": Quantity("parameters", "parameters", scaled),
    "layers": Quantity("layers", "layers", scaled),
    "flops": Quantity("FLOPs", "FLOPs a row", scaled),
    "latency": Quantity("latency", "latency of one row", duration),
    "training_seconds": Quantity("training", "training time", duration),
}
"""Costs of a run, in the order of a table."""


def quantity(name: str, value: float) -> str:
    """A cost as people read it; nothing where it was not measured."""
    return QUANTITIES[name].write(value) if math.isfinite(value) else ""
