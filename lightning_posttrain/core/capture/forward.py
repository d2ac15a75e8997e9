"""Run the user's module outside of its step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer

from lightning_posttrain.core.capture.module_state import kept_state
from lightning_posttrain.core.capture.tap import Firing, Tap


def second_forward(
    trainer: Trainer, module: LightningModule, inputs: Any, tap: Tap, shapes: tuple[torch.Size, ...]
) -> Callable[[], tuple[Any, list[Firing]]]:
    """A function that runs the module on the inputs as its step would; its output, and what the tap heard.

    It leaves the random number generators, what the module keeps, and its log alone.
    """

    def forward() -> tuple[Any, list[Firing]]:
        if inputs is None:
            raise ValueError("no inputs found in the batch; pass inputs_fn=lambda batch: ...")
        tap.listen(*shapes)
        try:
            with torch.no_grad(), kept_state(module), muted(module), trainer.precision_plugin.forward_context():
                value = module(inputs)
        finally:
            firings = tap.take()
        return value, firings

    return forward


@contextmanager
def muted(module: LightningModule) -> Iterator[None]:
    """Let a forward that logs do so to nowhere: what it sees here is not the step's batch."""
    before = vars(module).get("log")
    vars(module)["log"] = _nowhere
    try:
        yield
    finally:
        vars(module).pop("log")
        if before is not None:
            vars(module)["log"] = before


def _nowhere(*_args: Any, **_options: Any) -> None:
    """Stands for ``LightningModule.log``."""
