"""A thread in the background, in which a run's reports are drawn and written while the run goes on."""

from __future__ import annotations

import logging
import math
import threading
import time
import warnings
from collections.abc import Callable, Iterable
from concurrent.futures import Future, wait
from functools import partial
from itertools import takewhile
from queue import SimpleQueue
from typing import TextIO

from lightning_posttrain.core.output.thread_seconds import ThreadSeconds

Remark = Callable[[], None]
"""Says what went wrong, by a warning or by raising; for the main thread."""
Job = Callable[[], Iterable[Remark]]

PATIENCE = 5.0
"""Seconds for which a run that failed, or was interrupted, waits for what is being drawn."""

_log = logging.getLogger(__name__)


class BackgroundWriter:
    """Does one job after the other, in the order of their coming, and lets the main thread say what went wrong.

    The thread starts with the first job, in the process that has it, as no thread lives through a fork, and ends with
    ``close``. It is no reason for the process to live on. A writer is for one run.
    """

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._queue: SimpleQueue[tuple[Future[list[Remark]], Job] | None] = SimpleQueue()
        self._jobs: dict[str, Future[list[Remark]]] = {}
        self._ear = _Ear()
        self._cpu = ThreadSeconds()
        self._ended = threading.Event()
        self._given_up = threading.Event()

    def given_up(self) -> bool:
        """Whether nobody waits any more; for jobs, which then come to an end."""
        return self._given_up.is_set()

    def cpu_seconds(self) -> float:
        """Seconds of a CPU that the jobs took so far; that of the job at work is counted where the system can tell."""
        return self._cpu.read()

    def submit(self, tag: str, job: Job) -> None:
        """Take a job. The one before of the same tag is waited for, so that each tag waits with one at most.

        Raises:
            Exception: what a job that is done has to raise.
        """
        if tag in self._jobs:
            wait([self._jobs[tag]])
        _say(self._done())
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="lightning_posttrain", daemon=True)
            self._thread.start()
            self._ear.open()
        self._take(tag, job)

    def close(self, *, quietly: bool = False, last: Job | None = None) -> None:
        """Wait until all is done, end the thread, and say what is left to say.

        Args:
            quietly: the run has an exception of its own: what would be raised is logged, and the wait is of some
                seconds, after which what is left undone is named.
            last: done after all others, if there were any.

        Raises:
            Exception: what a job has to raise.
        """
        if self._thread is not None:
            if last is not None:
                self._take("what was held back", last)
            self._queue.put(None)
            try:
                self._wait(PATIENCE if quietly else math.inf)
            finally:  # an interrupt ends the wait as well
                if self._ended.is_set():
                    self._thread.join()
                else:
                    self._give_up()
                self._ear.close()
        _say(self._done(), quietly=quietly)

    def _wait(self, seconds: float) -> None:
        """Wait for the thread, in pieces, between which an interrupt is heard on every system.

        Not by ``join``, after whose interruption a thread that runs on passes for one that has ended (bpo-45274).
        """
        end = time.monotonic() + seconds
        while not self._ended.wait(min(1.0, seconds)) and time.monotonic() < end:
            pass

    def _take(self, tag: str, job: Job) -> None:
        self._jobs[tag] = Future()
        self._queue.put((self._jobs[tag], job))

    def _give_up(self) -> None:
        """Name what is left undone; the job at work ends as soon as it can."""
        self._given_up.set()
        left = [tag for tag, future in self._jobs.items() if not future.done()]
        for tag in left:
            self._jobs.pop(tag).cancel()
        _log.warning("The run ends before all was drawn; not written: %s.", ", ".join(left))

    def _work(self) -> None:
        self._ear.of_this_thread()
        self._cpu.begin()
        while (waiting := self._queue.get()) is not None:
            future, job = waiting
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result([*job(), *self._ear.take()])
                except BaseException as error:  # raised in the main thread
                    future.set_exception(error)
                self._cpu.note()
        self._cpu.end()
        self._ended.set()

    def _done(self) -> list[Future[list[Remark]]]:
        """Take off the jobs that are done."""
        tags = list(takewhile(lambda tag: self._jobs[tag].done(), self._jobs))
        return [self._jobs.pop(tag) for tag in tags]


class _Ear:
    """Keeps what one thread is warned of for the main thread to show; the warnings of others go their way.

    The filters stay as they are: ``catch_warnings`` would change them for all threads.
    """

    def __init__(self) -> None:
        self._thread: int | None = None
        self._kept: list[Remark] = []

    def of_this_thread(self) -> None:
        """Listen to the present thread."""
        self._thread = threading.get_ident()

    def open(self) -> None:
        """Begin."""
        self._before = warnings.showwarning
        warnings.showwarning = self._hear

    def close(self) -> None:
        """End; where somebody else changed how warnings are shown, theirs stays, and ours hands on."""
        self._thread = None
        if warnings.showwarning == self._hear:
            warnings.showwarning = self._before

    def take(self) -> list[Remark]:
        """What was heard."""
        kept, self._kept = self._kept, []
        return kept

    def _hear(
        self,
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        show = partial(self._before, message, category, filename, lineno, file, line)
        if threading.get_ident() == self._thread:
            self._kept.append(show)  # it has passed the filters
        else:
            show()


def _say(jobs: Iterable[Future[list[Remark]]], *, quietly: bool = False) -> None:
    """Make all remarks; then raise the first error, if there is any, and log the others."""
    errors: list[BaseException] = []
    for job in jobs:
        failed = job.exception()
        for remark in [partial(_raise, failed)] if failed else job.result():
            try:
                remark()
            except BaseException as error:  # raised below, when all have been said
                errors.append(error)
    for other in errors if quietly else errors[1:]:
        _log.error("%s: %s", type(other).__name__, other, exc_info=other)
    if errors and not quietly:
        raise errors[0]


def _raise(error: BaseException) -> None:
    raise error
