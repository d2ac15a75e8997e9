"""What a server takes at most."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import final

from lightning_posttrain.export import Signature

KIB, MIB = 1 << 10, 1 << 20
LETTERS = 24
"""Of a number as JSON, at most, as ``-1.2345678901234567e-12,``."""


@final
@dataclass(frozen=True)
class Limits:
    """What a server takes at most.

    Args:
        seconds: of a request, from its first byte to its answer.
        body_bytes: of a body.
        rows: of a request.
        waiting_rows: of all requests that wait for the model.
        waiting_bytes: of these rows, and of all bodies that are being read.
        batch_rows: that the model answers at once.

    Example:
        >>> Limits(seconds=5).batch_rows
        64
    """

    seconds: float = 30.0
    body_bytes: int = 16 * MIB
    rows: int = 1024
    waiting_rows: int = 4096
    waiting_bytes: int = 512 * MIB
    batch_rows: int = 64

    def __post_init__(self) -> None:
        for part in fields(self):
            value = getattr(self, part.name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"`{part.name}` is {value!r}, wanted a number above 0.")


def body_bytes_for(signature: Signature) -> int:
    """Bytes of a body that one row as JSON or 64 rows as ``.npy`` fit in: 1 to 64 MiB, 16 where lengths are free."""
    if any(size is None for spec in signature.inputs for size in spec.shape[1:]):
        return 16 * MIB
    numbers = sum(math.prod(size or 1 for size in spec.shape[1:]) for spec in signature.inputs)
    return min(max(MIB, numbers * 64 * 4, numbers * LETTERS), 64 * MIB)
