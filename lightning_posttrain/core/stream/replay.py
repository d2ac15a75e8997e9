"""A batch that the module is asked for again, with other weights or statistics than the step's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, final

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from lightning_posttrain.core.capture.batch_parts import cloned
from lightning_posttrain.core.capture.forward import muted
from lightning_posttrain.core.capture.loaders import Rows
from lightning_posttrain.core.capture.module_state import kept_state
from lightning_posttrain.core.stream.reading import Batch, Found, Reading

CURE = "Pass forward_fn=lambda module, inputs: ... that gives the scores."
ForwardFn = Callable[[LightningModule, Any], Any]


@final
class Replay:
    """Gives a batch as the module predicts it at the moment of the call; targets and rows are the step's.

    To be called inside of ``asked``, which leaves no trace.

    Args:
        reading: how the batch was read.
        found: what the step gave.
        rows: of the loader.
        module: that was evaluated.
        inputs: of the batch, as the loader gave them.
    """

    def __init__(self, reading: Reading, found: Found, rows: Rows, module: LightningModule, inputs: Any) -> None:
        self.reading = reading
        self.found = found
        self.rows = rows
        self.module = module
        self.inputs = inputs

    def __call__(self, forward_fn: ForwardFn | None = None) -> Batch:
        """The batch, with the predictions of the module as it is.

        Args:
            forward_fn: from the module and the inputs to predictions in the form of the step's own, where the step
                does more than to call a network.

        Raises:
            ValueError: the step does not tell how it came to its predictions.
        """
        return self.reading.batch(self._predictions(forward_fn), self.found.given, self.rows)

    def _predictions(self, forward_fn: ForwardFn | None) -> Tensor:
        if forward_fn is not None:
            found = forward_fn(self.module, cloned(self.inputs))
            if not isinstance(found, Tensor):
                raise ValueError(f"`forward_fn` gave a {type(found).__name__}, wanted a tensor of scores.")
            return found.detach()
        if self.found.again is None:
            raise ValueError(f"the step does not tell how its scores come from its batch. {CURE}")
        return self.found.again(self.module).detach()


@contextmanager
def asked(trainer: Trainer, module: LightningModule) -> Iterator[None]:
    """Run the module as its step would, without a trace in what it keeps, its log and the random numbers."""
    with torch.no_grad(), kept_state(module), muted(module), trainer.precision_plugin.forward_context():
        yield
