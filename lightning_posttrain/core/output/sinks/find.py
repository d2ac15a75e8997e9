"""Find the sinks of a trainer by what its loggers can do, not by their class."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from lightning_posttrain.core.output.sinks.base import Sink
from lightning_posttrain.core.output.sinks.folder import FolderSink
from lightning_posttrain.core.output.sinks.tensorboard import TensorBoardSink


def find_sinks(loggers: Iterable[Any], folder: str) -> list[Sink]:
    """A folder, and each logger whose ``experiment`` has TensorBoard's ``add_image`` and ``add_text``.

    Args:
        loggers: the trainer's; only on the first rank, as others have no experiment.
        folder: for the files.
    """
    experiments = [getattr(logger, "experiment", None) for logger in loggers]
    can = [e for e in experiments if hasattr(e, "add_image") and hasattr(e, "add_text")]
    return [FolderSink(folder), *map(TensorBoardSink, can)]
