"""One thread for what the event loop must not wait for."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from typing import Any, TypeVar, final

T = TypeVar("T")
_Task = tuple["asyncio.Future[Any]", Callable[[], Any]]


@final
class WorkThread:
    """Does one thing after another; a process may end while it works, which an executor's threads do not allow.

    Args:
        name: of the thread.
    """

    def __init__(self, name: str) -> None:
        self._tasks: SimpleQueue[_Task] = SimpleQueue()
        self._thread = threading.Thread(target=_work, args=(self._tasks,), name=name, daemon=True)

    def run(self, work: Callable[[], T]) -> asyncio.Future[T]:
        """What a function returns or raises, when its turn has come."""
        if not self._thread.is_alive():
            self._thread.start()
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._tasks.put((future, work))
        return future


def _work(tasks: SimpleQueue[_Task]) -> None:
    while True:
        future, work = tasks.get()
        settle: Callable[[], None]
        try:
            settle = partial(_settle, future, work(), None)
        except BaseException as error:
            settle = partial(_settle, future, None, error)
        try:
            future.get_loop().call_soon_threadsafe(settle)
        except RuntimeError:  # the loop has ended
            return


def _settle(future: asyncio.Future[Any], value: Any, error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(value)
    else:
        future.set_exception(error)
