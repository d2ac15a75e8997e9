"""A bar for long work, in the style of the trainer's own, and none where the trainer shows none."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from lightning.pytorch import Trainer

DELAY = 2.0
"""Seconds of work before a bar shows up."""
REFRESH = 0.1
"""Seconds between two drawings of a bar of ``rich``, which the trainer's own redraws by itself."""


class Bar(Protocol):
    """What a bar can do, as that of ``tqdm``."""

    n: float
    total: float | None

    def update(self, n: float) -> Any:
        """Count so many more."""


class Progress:
    """A bar that is told of forwards, and of how many are to come where that is known; without one nothing is shown.

    Args:
        bar: the bar, or None.
    """

    def __init__(self, bar: Bar | None = None) -> None:
        self._bar = bar

    def __call__(self, rows: int) -> None:
        """Count so many forwards."""
        if self._bar is not None:
            self._bar.update(rows)

    def expect(self, rows: int) -> None:
        """Say that so many more are to come."""
        if self._bar is not None:
            self._bar.total = self._bar.n + rows


class RichTask:
    """A line below those of a ``RichProgressBar``, which shows up where work takes more than some seconds.

    Args:
        live: the ``rich.progress.Progress`` of the trainer's bar.
        description: stands before it.
    """

    def __init__(self, live: Any, description: str) -> None:
        self.n: float = 0
        self.total: float | None = None
        self._live, self._description = live, description
        self._task: Any = None
        self._drawn = time.monotonic() + DELAY - REFRESH

    def update(self, n: float) -> None:
        """Count so many more."""
        self.n += n
        if time.monotonic() - self._drawn < REFRESH:
            return
        self._drawn = time.monotonic()
        total = float("inf") if self.total is None else self.total
        if self._task is None:
            self._task = self._live.add_task(self._description, total=total)
        self._live.update(self._task, completed=self.n, total=total)
        self._live.refresh()

    def close(self) -> None:
        """Take the line away."""
        if self._task is not None:
            self._live.remove_task(self._task)
            self._live.refresh()


@contextlib.contextmanager
def progress(trainer: Trainer, owner: str) -> Iterator[Progress]:
    """A bar that shows up where an explanation takes more than some seconds, where the trainer shows one."""
    shown = trainer.progress_bar_callback
    if shown is None or not getattr(shown, "is_enabled", True):
        yield Progress()
        return
    live = getattr(shown, "progress", None)
    if getattr(getattr(live, "live", None), "is_started", False):
        task = RichTask(live, owner)
        try:
            yield Progress(task)
        finally:
            task.close()
        return
    from tqdm.auto import tqdm

    with tqdm(desc=owner, unit=" forwards", leave=False, delay=DELAY) as bar:
        yield Progress(bar)
