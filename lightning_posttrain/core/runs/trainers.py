"""What is asked of Lightning, in either namespace, for Trainers that the package itself starts."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

NAMESPACES = ("lightning.pytorch", "pytorch_lightning")
QUIET: Mapping[str, Any] = {"enable_progress_bar": False, "enable_model_summary": False}
"""Options of one Trainer of many."""


def uncompiled(module: Any) -> Any:
    """What ``torch.compile`` was given; any other module as it is."""
    return getattr(module, "_orig_mod", module)


def lightning_of(one: Any, kind: Literal["LightningModule", "Trainer"] = "LightningModule") -> Any:
    """The Lightning namespace of an object, ``lightning.pytorch`` or ``pytorch_lightning``; None where it has none.

    Args:
        one: a module, compiled or not, or a Trainer.
        kind: the class that it should be of.
    """
    for name in NAMESPACES:
        package = sys.modules.get(name)
        if package is not None and isinstance(uncompiled(one), getattr(package, kind, ())):
            return package
    return None


def ranks_run_the_script(trainer: Any) -> bool:
    """Whether each rank would run the user's script anew, and so start Trainers of its own, as with ``"ddp"``.

    Ranks that are forked or spawned run the fit alone; their launcher has a method to start processes.
    """
    return trainer.world_size > 1 and not hasattr(trainer.strategy.launcher, "_start_method")


def best_checkpoint(
    lightning: Any, folder: Path, *, monitor: str, mode: Literal["min", "max"], save_last: bool = False
) -> Any:
    """A callback that keeps the best epoch as ``best.ckpt`` in a folder of the run; a repeated run writes over it."""
    make = lightning.callbacks.ModelCheckpoint
    named = {"filename": "best", "enable_version_counter": False}
    return make(folder, monitor=monitor, mode=mode, save_last=save_last, **named)


@contextmanager
def interrupt_ends_all(trainer: Any) -> Iterator[None]:
    """Around a run: let the user's interrupt be one, where Lightning makes it an exit of the process."""
    try:
        yield
    except SystemExit as end:
        if trainer.interrupted:
            raise KeyboardInterrupt from end
        raise


def figures_of(trainer: Any) -> dict[str, float]:
    """All figures that were logged last; Lightning brings them back from ranks that it started."""
    return {name: float(value) for name, value in trainer.callback_metrics.items()}
