"""Find the sink of a logger by what it can do, not by its class."""

from __future__ import annotations

from typing import Any

from lightning_posttrain.core.output.sinks.base import Sink
from lightning_posttrain.core.output.sinks.tensorboard import TensorBoardSink


def sinks_of(logger: Any) -> list[Sink]:
    """One for a logger whose ``experiment`` has TensorBoard's ``add_image`` and ``add_text``.

    Args:
        logger: of a trainer; only on the first rank, as others have no experiment.

    Raises:
        RuntimeError: it would end the process, as one that cannot log in.
    """
    try:
        experiment = getattr(logger, "experiment", None)
    except SystemExit as error:
        raise RuntimeError(f"{type(logger).__name__}.experiment raised SystemExit: {error}") from error
    able = hasattr(experiment, "add_image") and hasattr(experiment, "add_text")
    return [TensorBoardSink(experiment)] if able else []
