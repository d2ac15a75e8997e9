"""Event files of TensorBoard as bytes, so that each is written whole or not at all. Needs no TensorFlow."""

from __future__ import annotations

import hashlib
import io
import time
from collections.abc import Sequence
from typing import Any

MARK = "events.out.tfevents."


def event_file(summaries: Sequence[tuple[int, Any]]) -> bytes:
    """The content of an event file.

    Args:
        summaries: steps and the ``Summary`` of each.
    """
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.summary.writer.record_writer import RecordWriter

    content, now = io.BytesIO(), time.time()
    writer = RecordWriter(content)
    writer.write(Event(wall_time=now, file_version="brain.Event:2").SerializeToString())
    for step, summary in summaries:
        writer.write(Event(wall_time=now, step=step, summary=summary).SerializeToString())
    return content.getvalue()


def event_name(told: str) -> str:
    """The name of an event file that tells something: later ones come later, the same is known by the end of its name.

    Args:
        told: everything that it tells, as text.
    """
    return f"{MARK}{time.time_ns()}.{digest(told)}"


def digest(told: str) -> str:
    """Sixteen letters that stand for a text."""
    return hashlib.blake2b(told.encode(errors="backslashreplace"), digest_size=8).hexdigest()


def scalar(tag: str, value: float) -> Any:
    """A summary with one number."""
    from tensorboard.compat.proto.summary_pb2 import Summary

    return Summary(value=[Summary.Value(tag=tag, simple_value=value)])
