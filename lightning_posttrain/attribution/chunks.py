"""Many rows in chunks that fit, within a time and a number of passes, with a word on how far one is."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from lightning_posttrain.attribution.device_memory import DeviceMemory

FIRST, PIECE = 32, 1 / 16
"""Where the time is limited: rows of the first chunk, by which the speed is known, and the share of a later one."""
FEW = 8
"""A pass of fewer rows takes as long, and counts as so many."""
FORWARD = 1 / 3
"""What a row's forward alone costs, of a pass: a backward, as training makes it, is the work of two forwards."""
MOST = 1024
"""Rows to which chunks grow: more are no faster, and some kernels count no more than 2^31 values."""


class OutOfTimeError(Exception):
    """The time, or the passes, that were allowed are over; says which."""

    def __init__(self, reason: str = "the time was over") -> None:
        super().__init__(reason)


class Chunks:
    """Runs work over many rows, so many at a time as memory allows.

    On an accelerator chunks double while twice the rows are sure to fit by what the last chunk took, and are wanted;
    where memory is short after all, they are halved.

    Args:
        size: rows at a time, to begin with.
        seconds: how long all work may take, from now on; None for no limit.
        passes: how many rows may go through the model, a forward without a backward being a third of one; None for no
            limit. Unlike seconds it leaves the same on every machine.
        advance: told of each chunk that is done, for a progress bar.
        expect: told of the rows that are to come.
        device: that computes. Default: the CPU.

    Example:
        >>> seen = []
        >>> Chunks(2).run(3, lambda rows: seen.append(rows.tolist()))
        >>> seen
        [[0, 1], [2]]
    """

    def __init__(
        self,
        size: int,
        *,
        seconds: float | None = None,
        passes: float | None = None,
        advance: Callable[[int], object] | None = None,
        expect: Callable[[int], object] | None = None,
        device: torch.device | None = None,
    ) -> None:
        self.size = max(1, size)
        self._memory = DeviceMemory(device or torch.device("cpu"))
        self.note = ""
        self.spent = 0.0
        self._until = None if seconds is None else time.monotonic() + seconds
        self._most = math.inf if passes is None else passes
        self.advance = advance or (lambda _rows: None)
        self._expect = expect or (lambda _rows: None)
        self._rows, self._worked = 0, 0.0

    def run(self, total: int, work: Callable[[Tensor], None], *, cost: float = 1.0) -> None:
        """Call ``work`` with the numbers of the rows of each chunk; it must change nothing before it can fail.

        Args:
            total: how many rows.
            work: what is done with them.
            cost: of a row, in passes.

        Raises:
            OutOfTimeError: there are too few passes for all rows, or the time is over; then chunks that are done stay
                done.
        """
        first = 0
        self.check(total, cost)
        self._expect(total)
        while first < total:
            self.check()
            self._grow(total - first, cost)
            rows = torch.arange(first, min(first + self.step, total))
            began = time.monotonic()
            try:
                self._work(work, rows, cost)
            except RuntimeError as error:
                if not _is_memory(error) or self.size == 1:
                    raise
                self._halve()
                continue
            first += len(rows)
            self.spend(len(rows), cost)
            self._rows, self._worked = self._rows + len(rows), self._worked + time.monotonic() - began
            self.advance(len(rows))

    @property
    def over(self) -> bool:
        """Whether the time is over."""
        return self._until is not None and time.monotonic() > self._until

    def check(self, rows: int = 0, cost: float = 1.0) -> None:
        """Raise where the time is over, or so many rows are more than the passes that are left."""
        if self.over:
            raise OutOfTimeError
        rows = max(rows, FEW) if rows else 0
        if rows > self.allows(cost):
            left = max(0, int(self.allows(cost)))
            raise OutOfTimeError(f"it takes {rows:,} rows through the model, and the fit leaves {left:,}")

    def allows(self, cost: float = 1.0) -> float:
        """How many rows of a cost there are passes for; infinity where there is no limit."""
        return (self._most - self.spent) / cost + 1e-6  # thirds add up to a little more or less than whole numbers

    def spend(self, rows: int, cost: float = 1.0) -> None:
        """Count rows that were given to the model at a time."""
        self.spent += cost * max(rows, FEW if rows else 0)

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

    def _work(self, work: Callable[[Tensor], None], rows: Tensor, cost: float) -> None:
        with self._memory.measured(len(rows)) if cost >= 1.0 else contextlib.nullcontext():
            work(rows)

    def _grow(self, wanted: int, cost: float) -> None:
        """More rows at a time where they fit; by what gradients took, which forwards alone do not need."""
        if self.note or cost < 1.0 or wanted <= self.size:
            return
        fit = min(self._memory.rows, MOST)
        while 2 * self.size <= fit and self.size < wanted:
            self.size *= 2

    def _halve(self) -> None:
        self.size = max(1, self.size // 2)
        self.note = f"memory was short: {self.size} rows at a time"
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _is_memory(error: RuntimeError) -> bool:
    words = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError) or "out of memory" in words or "can't allocate memory" in words
