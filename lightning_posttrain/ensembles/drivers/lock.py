"""One process at a time on a folder."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

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
        file.write(json.dumps({"host": socket.gethostname(), "process": os.getpid()}))
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
        host, process = _owner(file)
        alive = host != socket.gethostname() or _lives(process)
        if alive or time.monotonic() > end:
            left = "" if alive else ", which is dead and has left others behind"
            raise RuntimeError(
                f"`folder` {str(folder)!r} is in use by process {process} on {host}{left}. Wait until that has ended "
                "and call fit again, which goes on with what is there; or pass another folder."
            )
        time.sleep(0.1)


def _owner(file: TextIO) -> tuple[str, int]:
    """Host and process; of one that has not yet said, this host and none."""
    file.seek(0)
    with contextlib.suppress(ValueError, KeyError):
        found = json.loads(file.read())
        return str(found["host"]), int(found["process"])
    return socket.gethostname(), 0


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0) if process else None
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return process > 0
