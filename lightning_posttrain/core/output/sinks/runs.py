"""Who writes to a folder: a run, told from others also where a process is long gone."""

from __future__ import annotations

import os
import socket
import time
from dataclasses import dataclass, field
from pathlib import Path


def _started(pid: int) -> str:
    """When a process began, by the system's own count, as numbers of processes are used again; "" where not known."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


@dataclass(frozen=True)
class Run:
    """A run of a Trainer: a fit, or an evaluation by itself.

    Args:
        name: the same for all runs of one Trainer, and no other's.
        anew: a fit from the start, whose files replace those of an earlier one.
    """

    name: str
    anew: bool = False
    host: str = field(default_factory=socket.gethostname)
    pid: int = field(default_factory=os.getpid)
    since: str = field(default_factory=lambda: _started(os.getpid()))
    begun: str = field(default_factory=lambda: time.strftime("%Y-%m-%d %H:%M:%S"))

    def elsewhere(self) -> bool:
        """Whether another process of this machine is at it."""
        if self.host != socket.gethostname() or self.pid == os.getpid():
            return False
        return bool(self.since) and _started(self.pid) == self.since
