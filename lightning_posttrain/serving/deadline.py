"""A limit on the seconds that a request takes."""

from __future__ import annotations

import asyncio
import sys
from types import TracebackType
from typing import final


@final
class Deadline:
    """Ends what a task waits for; as ``asyncio.timeout``, which Python 3.10 has not.

    Args:
        seconds: after which the body of the ``with`` raises ``TimeoutError``.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._over = False

    def __enter__(self) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("A deadline is of a task, and there is none.")
        self._task = task
        self._timer = task.get_loop().call_later(self._seconds, self._end)

    def _end(self) -> None:
        self._over = True
        self._task.cancel()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        if self._over and kind is asyncio.CancelledError:
            if sys.version_info >= (3, 11):
                self._task.uncancel()
            raise TimeoutError from error
