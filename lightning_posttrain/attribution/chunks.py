"""Many rows in chunks that fit, within a time, with a word on how far one is."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

FIRST, PIECE = 32, 1 / 16
"""Where the time is limited: rows of the first chunk, by which the speed is known, and the share of a later one."""


class OutOfTimeError(Exception):
    """The time that was allowed is over."""


class Chunks:
    """Runs work over many rows, so many at a time as memory allows.

    Args:
        size: rows at a time, at most.
        seconds: how long all work may take, from now on; None for no limit.
        advance: told of each chunk that is done, for a progress bar.

    Example:
        >>> seen = []
        >>> Chunks(2).run(3, lambda rows: seen.append(rows.tolist()))
        >>> seen
        [[0, 1], [2]]
    """

    def __init__(
        self, size: int, *, seconds: float | None = None, advance: Callable[[int], object] | None = None
    ) -> None:
        self.size = max(1, size)
        self.note = ""
        self._until = None if seconds is None else time.monotonic() + seconds
        self.advance = advance or (lambda _rows: None)
        self._rows, self._worked = 0, 0.0

    def run(self, total: int, work: Callable[[Tensor], None]) -> None:
        """Call ``work`` with the numbers of the rows of each chunk; it must change nothing before it can fail.

        Raises:
            OutOfTimeError: the time is over; chunks that are done stay done.
        """
        first = 0
        while first < total:
            self.check()
            rows = torch.arange(first, min(first + self.step, total))
            began = time.monotonic()
            try:
                work(rows)
            except RuntimeError as error:
                if not _is_memory(error) or self.size == 1:
                    raise
                self._halve()
                continue
            first += len(rows)
            self._rows, self._worked = self._rows + len(rows), self._worked + time.monotonic() - began
            self.advance(len(rows))

    @property
    def over(self) -> bool:
        """Whether the time is over."""
        return self._until is not None and time.monotonic() > self._until

    def check(self) -> None:
        """Raise where the time is over."""
        if self.over:
            raise OutOfTimeError

    @property
    def left(self) -> float:
        """Seconds that are left; infinity where there is no limit."""
        return math.inf if self._until is None else max(0.0, self._until - time.monotonic())

    @property
    def step(self) -> int:
        """Rows of the next chunk: ``size``, or where the time is limited less, so that its end is not run past."""
        if self.left == math.inf:
            return self.size
        return max(1, min(self.size, int(self.affords(PIECE)) if self._worked else FIRST))

    def affords(self, share: float = 1.0) -> float:
        """How many rows there is time for in a share of what is left, as fast as it went so far."""
        return share * self.left * self._rows / self._worked if self._worked and self.left < math.inf else math.inf

    @contextlib.contextmanager
    def within(self, share: float) -> Iterator[None]:
        """Allow a share of the time that is left, and no more, inside."""
        until = self._until
        if until is not None:
            self._until = time.monotonic() + share * self.left
        try:
            yield
        finally:
            self._until = until

    def _halve(self) -> None:
        self.size = max(1, self.size // 2)
        self.note = f"memory was short: {self.size} rows at a time"
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _is_memory(error: RuntimeError) -> bool:
    words = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError) or "out of memory" in words or "can't allocate memory" in words
