"""The lock of a folder: one process at a time fits members in it."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from lightning_posttrain.core.runs.owners import has_ended, this_process

try:
    import fcntl
except ModuleNotFoundError:  # no lock is known to the system
    fcntl = None  # type: ignore[assignment]

PATIENCE = 30.0
"""Seconds for which processes that a dead owner has left behind, as those of loaders, are waited for."""


@contextmanager
def one_at_a_time(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder; the system lets go of it when the owner and what it has forked are gone.

    Raises:
        RuntimeError: another process is at work there.
    """
    with (folder / "lock").open("a+") as file:
        if fcntl is not None:
            _acquire(file, folder)
        file.truncate(0)
        file.write(json.dumps(this_process()))
        file.flush()
        try:
            yield
        finally:
            if fcntl is not None:  # what was forked meanwhile may live on for a while
                fcntl.flock(file, fcntl.LOCK_UN)


def _acquire(file: TextIO, folder: Path) -> None:
    end = time.monotonic() + PATIENCE
    while True:
        with contextlib.suppress(BlockingIOError):
            return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        owner = _owner(file)
        waits = owner is None or has_ended(owner)
        if not waits or time.monotonic() > end:
            who = "a process" if owner is None else f"process {owner['pid']} on {owner['host']}"
            left = ", which is dead and has left others behind" if owner is not None and waits else ""
            raise RuntimeError(
                f"`folder` {str(folder)!r} is in use by {who}{left}. Wait until that has ended "
                "and call fit again, which goes on with what is there; or pass another folder."
            )
        time.sleep(0.1)


def _owner(file: TextIO) -> dict[str, Any] | None:
    """Who holds the lock; None where it has not yet said."""
    file.seek(0)
    with contextlib.suppress(ValueError):
        found: dict[str, Any] = json.loads(file.read())
        return found
    return None
