"""Seconds of a CPU that a thread takes, which other threads may read."""

from __future__ import annotations

import contextlib
import threading
import time


class ThreadSeconds:
    """Counts one thread; ``begin``, ``note`` and ``end`` are called in it, ``read`` anywhere."""

    def __init__(self) -> None:
        self._noted = 0.0
        self._clock: int | None = None

    def begin(self) -> None:
        """Count the present thread."""
        # of the thread itself, while it surely lives: for one that has ended the call may crash the process
        number = getattr(time, "pthread_getcpuclockid", None)
        self._clock = None if number is None else number(threading.get_ident())

    def note(self) -> None:
        """Keep the seconds until this moment, for systems that tell them to the thread alone."""
        self._noted = time.thread_time()

    def end(self) -> None:
        """Keep the seconds for when the thread has ended."""
        self.note()
        self._clock = None

    def read(self) -> float:
        """Seconds until this moment, or until the last ``note`` where the system tells no more."""
        clock = self._clock
        if clock is not None:
            with contextlib.suppress(OSError):  # it ended a moment ago
                return time.clock_gettime(clock)
        return self._noted
