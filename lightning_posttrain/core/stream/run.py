"""Where a run keeps its files, and how far it is."""

from __future__ import annotations

import math
from typing import Any

from lightning.pytorch import Trainer

from lightning_posttrain.core.output.sinks.folder import safe_name


def run_folder(trainer: Trainer) -> str:
    """The run's own folder: that of a logger which has one, else one with the logger's name and the run's id.

    Only where no logger tells runs apart is it the ``default_root_dir``, which runs share. All ranks together.
    """
    folder = _own(trainer) if trainer.is_global_zero else None
    return str(trainer.strategy.broadcast(folder))


def _own(trainer: Trainer) -> str:
    for logger in trainer.loggers:
        if own := _attribute(logger, "log_dir"):
            return str(own)
    for logger in trainer.loggers:
        name, version = _attribute(logger, "name"), _attribute(logger, "version")
        if version not in (None, ""):
            # as Lightning's checkpoints
            parts = [str(name or ""), version if isinstance(version, str) else f"version_{version}"]
            root = str(_attribute(logger, "save_dir") or trainer.default_root_dir).rstrip("/")
            return "/".join([root, *(safe_name(part) for text in parts for part in text.split("/") if part)])
    shared = (_attribute(logger, "save_dir") for logger in trainer.loggers)
    return str(next(filter(None, shared), trainer.default_root_dir))


def _attribute(logger: Any, name: str) -> Any:
    """None where a logger has none, or cannot say."""
    try:
        return getattr(logger, name, None)
    except (Exception, SystemExit):  # code of others, as a login
        return None


def is_anew(trainer: Trainer) -> bool:
    """Whether a first report is of a fit that did not go on from a checkpoint, as far as can be known."""
    return trainer.state.fn == "fit" and trainer.current_epoch == 0


def progress(trainer: Trainer) -> float | None:
    """The part of a fit that is done, from 0 to 1; None where its length is not known."""
    steps, epochs = trainer.max_steps, trainer.max_epochs or 0
    by_steps = trainer.global_step / steps if steps > 0 else None
    inside = _part_of_epoch(trainer)
    by_epochs = (trainer.current_epoch + inside) / epochs if epochs > 0 and inside is not None else None
    return max((part for part in (by_steps, by_epochs) if part is not None), default=None)


def _part_of_epoch(trainer: Trainer) -> float | None:
    batches = trainer.num_training_batches
    if math.isfinite(batches):
        return min(trainer.fit_loop.epoch_loop.batch_progress.current.ready / batches, 1.0) if batches else 1.0
    return 1.0 if trainer.val_check_interval == 1.0 else None
