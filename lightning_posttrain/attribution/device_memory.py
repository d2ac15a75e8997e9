"""How many rows fit into what is free of an accelerator's memory, told by what earlier rows took."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch

SHARE = 0.5
"""Of the free memory that a chunk may take: what lies scattered in it cannot be used."""
WANTED = ("memory_stats", "mem_get_info")
TAKEN, EVER, PEAK = (f"allocated_bytes.all.{name}" for name in ("current", "allocated", "peak"))
RESERVED = "reserved_bytes.all.current"


class DeviceMemory:
    """What rows take of an accelerator's memory, at most, without resetting the peak that a user may watch.

    Args:
        device: whose; of one that does not tell, as a CPU, nothing is known.

    Example:
        >>> memory = DeviceMemory(torch.device("cpu"))
        >>> with memory.measured(8):
        ...     rows = torch.zeros(8, 3)
        >>> memory.rows
        0
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        backend = getattr(torch, device.type, None)
        self._backend: Any = backend if all(hasattr(backend, name) for name in WANTED) else None
        self._row = 0.0

    @contextlib.contextmanager
    def measured(self, rows: int) -> Iterator[None]:
        """Note what each of so many rows takes inside; it is there as soon as the work is launched."""
        before = self._stats()
        yield
        after = self._stats()
        if before and after:
            # neither the peak, of whatever came before, nor all that was ever taken can be less than what was needed
            most = min(after[PEAK] - before[TAKEN], after[EVER] - before[EVER])
            self._row = max(1.0, most / rows)

    @property
    def rows(self) -> int:
        """How many rows fit at a time; 0 where that is not known."""
        stats = self._stats() if self._row else {}
        if not stats:
            return 0
        free, _ = self._backend.mem_get_info(self._device)
        return int(SHARE * (free + stats[RESERVED] - stats[TAKEN]) / self._row)

    def _stats(self) -> dict[str, int]:
        if self._backend is None:
            return {}
        stats: dict[str, int] = self._backend.memory_stats(self._device)
        return stats if all(name in stats for name in (TAKEN, EVER, PEAK, RESERVED)) else {}
