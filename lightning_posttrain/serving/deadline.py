"""A limit on the seconds that requests take."""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from types import TracebackType
from typing import Any, final

LOOKS = 20
"""In the seconds of a request, at those that last too long: a timer for each would cost as much as reading its body."""


@final
class Deadlines:
    """Ends what tasks wait for too long: ``with deadlines.one():``, whose body then raises ``TimeoutError``.

    Args:
        seconds: of each; it ends up to a twentieth later.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._open: deque[_Deadline] = deque()
        self._looking = False

    def one(self) -> _Deadline:
        """That of the present task, from the ``with`` on."""
        return _Deadline(self)

    def begin(self, deadline: _Deadline, loop: asyncio.AbstractEventLoop) -> float:
        """Look at a deadline from here on; the time of its end."""
        self._open.append(deadline)
        if not self._looking:
            self._looking = True
            loop.call_later(self._seconds / LOOKS, self._look, loop)
        return loop.time() + self._seconds

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        """End those that are over; all last equally long, so that the first to begin is the first."""
        now, waiting = loop.time(), self._open
        while waiting and (waiting[0].done or waiting[0].end <= now):
            waiting.popleft().over()
        self._looking = bool(waiting)
        if waiting:
            loop.call_later(self._seconds / LOOKS, self._look, loop)


@final
class _Deadline:
    """Of one task."""

    __slots__ = ("_all", "_over", "_task", "done", "end")

    def __init__(self, among: Deadlines) -> None:
        self._all = among
        self._over = self.done = False

    def __enter__(self) -> None:
        task: asyncio.Task[Any] | None = asyncio.current_task()
        if task is None:
            raise RuntimeError("A deadline is of a task, and there is none.")
        self._task: asyncio.Task[Any] | None = task
        self.end = self._all.begin(self, task.get_loop())

    def over(self) -> None:
        """Its seconds are over."""
        if self._task is not None and not self.done:
            self._over = True
            self._task.cancel()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        task, self._task, self.done = self._task, None, True  # it may be looked at long after the task has ended
        if self._over and kind is asyncio.CancelledError:
            if sys.version_info >= (3, 11) and task is not None:
                task.uncancel()
            raise TimeoutError from error
