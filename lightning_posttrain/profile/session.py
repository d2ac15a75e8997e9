"""Run a module's networks outside of its steps, and leave no trace."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch

from lightning_posttrain.core.capture.forward import muted
from lightning_posttrain.core.capture.module_state import kept_state

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule, Trainer


@contextlib.contextmanager
def running(trainer: Trainer, module: LightningModule, *, trains: bool = False) -> Iterator[None]:
    """Run the module as in a validation, or as in training, in the trainer's precision.

    Put back are its flags, buffers, attributes, log and the generators of random numbers.

    Args:
        trainer: of the run.
        module: unwrapped.
        trains: in training mode, and with gradients.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.set_grad_enabled(trains))
        stack.enter_context(kept_state(module, gradients=trains))
        stack.enter_context(muted(module))
        if module.training != trains:  # else parts that the user keeps in evaluation mode stay so
            module.train(trains)
        stack.enter_context(trainer.precision_plugin.forward_context())
        yield
