"""A pass over a loader outside of the trainer's epochs: steps of validation that leave no trace."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any, Literal

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.loggers.logger import DummyLogger
from lightning.pytorch.utilities.model_helpers import is_overridden
from lightning.pytorch.utilities.signature_utils import is_param_in_hook_signature
from torch import Tensor

from lightning_posttrain.core.capture.batch_parts import Path, parts_of
from lightning_posttrain.core.capture.call_again import before
from lightning_posttrain.core.capture.forward import muted, second_forward
from lightning_posttrain.core.capture.listener import Listener
from lightning_posttrain.core.capture.loaders import RowCounter, Rows
from lightning_posttrain.core.capture.module_state import kept_state
from lightning_posttrain.core.capture.step import Step
from lightning_posttrain.core.capture.untouched_loader import untouched
from lightning_posttrain.core.stream.fold import NO_ROWS
from lightning_posttrain.core.stream.reading import Batch, Found, Reading
from lightning_posttrain.core.stream.replay import Replay, asked
from lightning_posttrain.core.stream.stream import EvaluationStream

Of = Literal["val", "train"]
See = Callable[[Any, Replay], None]


def extra_pass(
    trainer: Trainer, module: LightningModule, reading: Reading, see: See, *, rows: int | None = None
) -> None:
    """Read the validation loader once more, as validation does, in a fit whose epochs are over.

    Nothing of the module, its metrics and logs, of loggers, other callbacks, random numbers and the loader changes.
    Each rank reads rows of its own, with no collective of ours.

    Args:
        trainer: of the run.
        module: with the weights that the step runs with.
        reading: of its predictions.
        see: called with each batch as the step predicted it, and a way to ask for it again.
        rows: as many of all ranks together are enough; None for all that ``limit_val_batches`` leaves.

    Raises:
        ValueError: there is no validation data, or no step for it.
    """
    left = math.inf if rows is None else -(-rows // trainer.world_size)
    with stepping(trainer, module, "val") as (loader, steps):
        reader = _Reader(trainer, module, reading, loader)
        reader.listener.attach(module)
        try:
            for batch, run in steps:
                read, again = reader.read(batch, run)
                with asked(trainer, module):
                    see(read, again)
                left -= read.size
                if left <= 0:
                    return
        finally:
            reader.listener.detach()


class _Reader:
    """Reads steps of the first validation loader under one reading, as the epochs of the run have."""

    def __init__(self, trainer: Trainer, module: LightningModule, reading: Reading, loader: Any) -> None:
        self.listener = Listener()
        self._trainer, self._module, self._reading, self._loader = trainer, module, reading, loader
        self._stream = EvaluationStream.of(trainer)
        self._finder = self._stream.reader.told.finder("val/0", reading)
        self._counter = RowCounter(loader)

    def read(self, batch: Any, run: Callable[[], Any]) -> tuple[Batch, Replay]:
        """A batch as the step predicts it, and a way to ask for it again."""
        given, parts, finder = self._reading.given(batch), parts_of(batch), self._finder
        kept = {path: part.clone() for path, part in parts.items()}
        self.listener.listen(
            self._module, parts, *given.shapes, only=finder.modules, pairs=finder.listens, trains=False, keeping=True
        )
        outputs = run()
        firings, pairs = self.listener.take()
        forward = second_forward(self._trainer, self._module, given.inputs, self.listener.tap, given.shapes)
        shape = given.shapes[0] if given.shapes else torch.Size()
        step = Step(
            outputs, batch, given.inputs, given.target, shape, firings, forward,
            parts=parts, pairs=pairs, before=kept,
        )  # fmt: skip
        found = finder.find(step, given)
        rows = self._rows(found, parts)
        read = self._reading.batch(found.predictions.detach(), found.given, rows)
        return read, Replay(self._reading, found, rows, self._module, before(found.given.inputs, parts, kept))

    def _rows(self, found: Found, parts: Mapping[Path, Tensor]) -> Rows:
        if found.given.selected:
            return NO_ROWS
        counted = self._counter.take(len(found.given.indices), found.predictions.device)
        return self._stream.positions.proven(self._trainer, self._loader, counted, parts, parts_of, key="val")


@contextmanager
def stepping(
    trainer: Trainer, module: LightningModule, of: Of
) -> Iterator[tuple[Any, Iterator[tuple[Any, Callable[[], Any]]]]]:
    """The loader of validation or training, and its batches with a call of the validation step for each.

    The module is in evaluation mode, and all is put back afterwards.

    Raises:
        ValueError: there is no such loader, or no step.
    """
    loader, most = _loader(trainer, of)
    if not is_overridden("validation_step", module):
        raise ValueError("the module has no validation_step, which a further pass over the data runs. Write one.")
    with torch.no_grad(), kept_state(module), muted(module), _aside(trainer), untouched(loader):
        module.eval()
        yield loader, _steps(trainer, module, loader, most)


def _steps(
    trainer: Trainer, module: LightningModule, loader: Any, most: float
) -> Iterator[tuple[Any, Callable[[], Any]]]:
    batches = islice(loader, None if math.isinf(most) else int(most))
    several = isinstance(trainer.val_dataloaders, Sequence) and len(trainer.val_dataloaders) > 1
    for number, given in enumerate(batches):
        moved = module._on_before_batch_transfer(trainer.precision_plugin.convert_input(given))
        batch = trainer.strategy.batch_to_device(moved)
        numbered = is_param_in_hook_signature(module.validation_step, "batch_idx", min_args=2)
        arguments = (batch, *([number] if numbered else []), *([0] if several else []))

        def run(arguments: tuple[Any, ...] = arguments) -> Any:
            with trainer.precision_plugin.val_step_context():
                return module.validation_step(*arguments)

        yield batch, run


@contextmanager
def _aside(trainer: Trainer) -> Iterator[None]:
    """Let the step see a validation, and loggers that write nothing."""
    stage, loggers = trainer.state.stage, trainer.loggers
    try:
        trainer.validating = True
        trainer.loggers = [DummyLogger() for _ in loggers]
        yield
    finally:
        trainer.state.stage, trainer.loggers = stage, loggers


def _loader(trainer: Trainer, of: Of) -> tuple[Any, float]:
    """The first loader of validation, or that of training, and how many batches of it the trainer reads."""
    given = trainer.val_dataloaders if of == "val" else trainer.train_dataloader
    if isinstance(given, Mapping):
        given = list(given.values())
    loader = given[0] if isinstance(given, Sequence) and given else given
    batches: Any = trainer.num_val_batches if of == "val" else trainer.num_training_batches
    most = batches[0] if isinstance(batches, list) and batches else batches
    if loader is None or (isinstance(loader, Sequence) and not loader) or not most:
        what = "validation" if of == "val" else "training"
        raise ValueError(f"there is no {what} data for a further pass: pass a {what} loader to the Trainer.")
    return loader, float(most)
