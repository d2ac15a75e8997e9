"""Lines on the terminal of a command, which goes on where nobody reads them any more."""

from __future__ import annotations

import contextlib
import os
from typing import TextIO


def write_line(stream: TextIO | None, line: str) -> None:
    """Write a line at once; nothing where the stream is closed, as by ``| head -1``.

    What the stream's encoding does not have is written as ``?``.

    Args:
        stream: as ``sys.stdout``; None where the process was started without.
        line: without its end.
    """
    if stream is None:
        return
    try:
        encoding = getattr(stream, "encoding", None) or "utf-8"
        stream.write(line.encode(encoding, "replace").decode(encoding) + "\n")
        stream.flush()
    except (OSError, ValueError):
        _let_go(stream)


def _let_go(stream: TextIO) -> None:
    """Lead a stream nowhere: what is left in it would fail once more when Python ends, and change the exit code."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, stream.fileno())
        finally:
            os.close(nowhere)
