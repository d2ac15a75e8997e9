"""A thread in the background, in which a run's reports are drawn and written while the run goes on."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial
from itertools import takewhile
from typing import TextIO

Remark = Callable[[], None]
"""Says what went wrong, by a warning or by raising; for the main thread."""
Job = Callable[[], Iterable[Remark]]

_log = logging.getLogger(__name__)


class BackgroundWriter:
    """Does one job after the other, in the order of their coming, and lets the main thread say what went wrong.

    The thread starts with the first job, in the process that has it, as no thread lives through a fork, and ends with
    ``close``. A writer is for one run.
    """

    def __init__(self) -> None:
        self._thread: ThreadPoolExecutor | None = None
        self._jobs: dict[str, Future[list[Remark]]] = {}
        self._ear = _Ear()

    def submit(self, tag: str, job: Job) -> None:
        """Take a job. The one before of the same tag is waited for, so that each tag waits with one at most.

        Raises:
            Exception: what a job that is done has to raise.
        """
        if tag in self._jobs:
            wait([self._jobs[tag]])
        _say(self._done())
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "lightning_posttrain", self._ear.of_this_thread)
            self._ear.open()
        self._jobs[tag] = self._thread.submit(self._do, job)

    def close(self, *, quietly: bool = False) -> None:
        """Wait until all is done, end the thread, and say what is left to say.

        Args:
            quietly: log what would be raised, as where the run has an exception of its own.

        Raises:
            Exception: what a job has to raise.
        """
        if self._thread is not None:
            self._thread.shutdown()
            self._ear.close()
        _say(self._done(), quietly=quietly)

    def _do(self, job: Job) -> list[Remark]:
        return [*job(), *self._ear.take()]

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
