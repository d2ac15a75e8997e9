"""Seconds that a device works for an action, by its own events, read when they have happened."""

from __future__ import annotations

from collections import Counter, deque
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import Any, final

import torch

MANY = 1024
"""Pairs of events after which those that have happened are read."""
_NOTHING = nullcontext()


@final
class DeviceSeconds:
    """Counts the seconds between two events of a CUDA stream around each action; nothing waits for them.

    They are the device's, not the host's: where kernels are launched ahead of it, only its own work lies between.

    Args:
        device: the run's; one that is no CUDA device has no such events, and nothing is counted.
        cuda: ``torch.cuda``.
    """

    def __init__(self, device: torch.device, cuda: Any = torch.cuda) -> None:
        self._cuda = cuda if device.type == "cuda" else None
        self._seconds: Counter[str] = Counter()
        self._open: deque[tuple[str, Any, Any]] = deque()

    def bracket(self, action: str) -> AbstractContextManager[Any]:
        """An action that lasts as long as a ``with`` statement."""
        if self._cuda is None:
            return _NOTHING
        if len(self._open) >= MANY:
            self._take()
        return _Pair(self._cuda, self._open, action)

    def read(self) -> dict[str, float] | None:
        """Seconds by action, of what has happened; None without such a device."""
        if self._cuda is None:
            return None
        self._take()
        return dict(self._seconds)

    def _take(self) -> None:
        while self._open and self._open[0][2].query():
            action, begin, end = self._open.popleft()
            self._seconds[action] += begin.elapsed_time(end) / 1000


@final
class _Pair:
    __slots__ = ("_action", "_begin", "_end", "_open")

    def __init__(self, cuda: Any, pairs: deque[tuple[str, Any, Any]], action: str) -> None:
        self._action, self._open = action, pairs
        self._begin, self._end = cuda.Event(enable_timing=True), cuda.Event(enable_timing=True)

    def __enter__(self) -> None:
        self._begin.record()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._end.record()
        self._open.append((self._action, self._begin, self._end))
