"""What is asked of Lightning, in either namespace, and of fits that fail."""

from __future__ import annotations

import gc
import logging
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from lightning_posttrain.ensembles.drivers.randomness import cuda_has_begun

NAMESPACES = ("lightning.pytorch", "pytorch_lightning")
LOGGERS = (*NAMESPACES, "lightning.fabric", "lightning_fabric")


@contextmanager
def quiet() -> Iterator[None]:
    """Let Lightning say of each of many Trainers no more than what it warns of."""
    with ExitStack() as after:
        for name in LOGGERS:
            logger = logging.getLogger(name)
            after.callback(logger.setLevel, logger.level)
            logger.setLevel(max(logger.level, logging.WARNING))
        yield


def namespace_of(module: Any) -> Any:
    """The Lightning that a module is of.

    Raises:
        TypeError: it is no LightningModule.
    """
    for name in NAMESPACES:
        package = sys.modules.get(name)
        if package is not None and isinstance(module, package.LightningModule):
            return package
    raise TypeError(
        f"`build` gave a {type(module).__name__}, wanted a LightningModule, new in each call: build=lambda: Net()."
    )


def check_launcher(trainer: Any) -> None:
    """Raise where each rank would run the user's script, and so a driver of its own.

    Raises:
        ValueError: with the cure.
    """
    launcher = trainer.strategy.launcher
    if trainer.world_size > 1 and "MultiProcessing" not in type(launcher).__name__:
        raise ValueError(
            f"`strategy` is {type(trainer.strategy).__name__} on {trainer.world_size} devices, whose ranks each run "
            'this script, and would each drive all members. Pass strategy="ddp_fork", or "ddp_spawn" where the script '
            'has an `if __name__ == "__main__":`, or devices=1.'
        )


def forget(error: BaseException) -> None:
    """Let go of what a failed fit holds on to, as the memory of a device."""
    error.__traceback__ = error.__context__ = error.__cause__ = None
    gc.collect()
    if cuda_has_begun():
        torch.cuda.empty_cache()


def reason_of(error: BaseException) -> str:
    """Kind and message in one line; of a process that ended, what ended it.

    Example:
        >>> reason_of(ValueError("no rows"))
        'ValueError: no rows'
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if type(error).__name__ == "ProcessRaisedException" and lines:
        return lines[-1]
    return f"{type(error).__name__}: {' '.join(lines)}"
