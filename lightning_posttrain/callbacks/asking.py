"""How a callback asks the user's module for the outputs of inputs: in a session, without a trace."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any, Literal, TypeVar

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from lightning_posttrain.attribution import gradient_session
from lightning_posttrain.callbacks.case import Case, compare, dtype_of, sharded
from lightning_posttrain.forward import muted
from lightning_posttrain.reading import Reading
from lightning_posttrain.results import Kind
from lightning_posttrain.tasks import to_logits

Found = TypeVar("Found")
CURE = "Pass forward_fn=lambda module, inputs: ... that gives the scores, or other methods."


class Asking:
    """Asks a module, on the first rank.

    Args:
        owner: the callback's name in what is said.
        forward_fn: from the module and inputs to scores, or None.
        precision: ``"full"`` or ``"trainer"``.
        kind: of the inputs, or None.
        seed: of random numbers in a session.
        reading: how scores are read.
        guarded: a context in which an error is said, and costs no run.
    """

    def __init__(
        self,
        owner: str,
        *,
        forward_fn: Callable[[Any, Any], Any] | None,
        precision: Literal["full", "trainer"],
        kind: Kind | None,
        seed: int,
        reading: Reading,
        guarded: Callable[[Trainer, str, str], AbstractContextManager[None]],
    ) -> None:
        self.owner = owner
        self.forward_fn = forward_fn
        self.precision = precision
        self.kind = kind
        self.seed = seed
        self.reading = reading
        self.guarded = guarded
        self.forget()

    def forget(self) -> None:
        """A run begins."""
        self._same: set[str] = set()
        self._refused: set[str] = set()

    def can(self, case: Case) -> bool:
        """Whether a case can be asked for."""
        return case.evaluation.key not in self._refused and not sharded(case.module, self.owner)

    @contextlib.contextmanager
    def session(self, module: LightningModule) -> Iterator[None]:
        """Allow forwards and gradients, and leave the module as it was."""
        plain = self.precision == "full" and dtype_of(module) == torch.float32
        context = None if plain else module.trainer.precision_plugin.forward_context()
        with gradient_session(module, self.seed, precision=context), muted(module):
            yield

    def model(self, module: LightningModule) -> Callable[[Tensor], Any]:
        """From inputs to what the module gives, whatever that is."""
        forward_fn = self.forward_fn
        return module if forward_fn is None else lambda x: forward_fn(module, x)

    def scorer(self, case: Case) -> Callable[[Tensor], Tensor]:
        """From inputs to logits."""
        forward_fn, module, reading = self.forward_fn, case.module, self.reading
        if forward_fn is None:
            return case.evaluation.scorer
        return lambda inputs: to_logits(forward_fn(module, inputs), reading.task, reading.scores)

    def check(self, case: Case, trainer: Trainer) -> None:
        """See once, in the epoch in which samples were chosen, that their scores are those that the step gave."""
        key = case.evaluation.key
        if key in self._same or not trainer.is_global_zero or not self.can(case):
            return
        self._refused.add(key)
        with self.guarded(trainer, "explain the samples", CURE), self.session(case.module), torch.no_grad():
            compare(case, self.scorer(case)(case.inputs(self.kind).clone()).detach().cpu())
            self._refused.remove(key)
            self._same.add(key)


def of_first_rank(trainer: Trainer, found: Found | None) -> Found | None:
    """What the first rank has found; all ranks together."""
    if trainer.world_size == 1:
        return found
    shared: Found | None = trainer.strategy.broadcast(found, 0)
    return shared
