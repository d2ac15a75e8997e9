"""Which process owns a run, and whether that process still lives."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

GONE = frozenset("ZX")
"""States of a process that has ended and waits for its parent to notice."""


def this_process() -> dict[str, Any]:
    """What tells this process from all others: where its number counts, the number, and when it was started."""
    return {"host": socket.gethostname(), "where": _namespace(), "pid": os.getpid(), "started": _started(os.getpid())}


def has_ended(owner: Mapping[str, Any]) -> bool | None:
    """Whether a process has ended; None for one of another machine or container, of which nothing is known here.

    Args:
        owner: what ``this_process`` gave there.
    """
    if owner["host"] != socket.gethostname() or owner["where"] != _namespace():
        return None
    return bool(_started(owner["pid"]) != owner["started"])


def _namespace() -> str:
    """Where the number of a process means one process.

    Containers of one name count apart, and a machine counts anew after its restart.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def _started(pid: int) -> str | None:
    """When a process was started, in the system's own words; None where there is none."""
    if not Path("/proc/self/stat").exists():
        return _started_by_ps(pid)
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in GONE else fields[19]


def _started_by_ps(pid: int) -> str | None:
    said = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return said.stdout.strip() or None
