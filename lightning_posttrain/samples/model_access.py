"""How a callback asks the user's module for the outputs of inputs: in a session, without a trace."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypedDict, TypeVar

import torch
from torch import Tensor

from lightning_posttrain.attribution import FORWARD, Chunks, gradient_session
from lightning_posttrain.core.callback.callback import EvaluationCallback
from lightning_posttrain.core.callback.options import one_of
from lightning_posttrain.core.capture.forward import muted
from lightning_posttrain.core.capture.sending import sent
from lightning_posttrain.core.stream.ranks import of_first_rank
from lightning_posttrain.samples.fit_limit import FitLimit
from lightning_posttrain.samples.kinds import Kind
from lightning_posttrain.samples.progress_bar import progress
from lightning_posttrain.samples.sample_set import SampleSet, compare, compare_calls, dtype_of, sharded

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule, Trainer

Scorer = Callable[..., Tensor]
"""From inputs ``(n, ...)``, and the numbers of the samples that they are copies of ``(n,)``, to logits ``(n, C)``."""


class WithFigures(Protocol):
    """A result with figures that all ranks are to know."""

    @property
    def figures(self) -> Mapping[str, float]:
        """By name."""


Shown = TypeVar("Shown", bound=WithFigures)
AGAIN = 8
"""Samples, at most half of them, that the model is asked for once more, in a smaller batch."""
CURE = "Pass forward_fn=lambda module, inputs: ... that gives the scores, or other methods."


class ModelOptions(TypedDict, total=False):
    """How the model is asked, as every callback that asks it takes it.

    Args:
        forward_fn: from the module and inputs to scores, where the step does more than ``module(inputs)``.
        precision: ``"full"``: without autocast; ``"trainer"``: as the trainer's.
        seed: of the random numbers, from generators of its own, the same every epoch.
    """

    forward_fn: Callable[[Any, Any], Any] | None
    precision: Literal["full", "trainer"]
    seed: int


class ModelAccess:
    """Asks a module, on the first rank.

    Args:
        callback: on whose behalf.
        kind: of the inputs, or None.
        forward_fn: see ``ModelOptions``.
        precision: likewise.
        seed: likewise.
        limit: counts what the callback asks in a fit. Default: one without a limit.
    """

    def __init__(
        self,
        callback: EvaluationCallback,
        kind: Kind | None,
        *,
        forward_fn: Callable[[Any, Any], Any] | None = None,
        precision: Literal["full", "trainer"] = "full",
        seed: int = 0,
        limit: FitLimit | None = None,
    ) -> None:
        one_of("precision", precision, ("full", "trainer"))
        self.owner = type(callback).__name__
        self.callback = callback
        self.kind = kind
        self.forward_fn = forward_fn
        self.precision = precision
        self.seed = seed
        self.limit = limit or FitLimit(None)
        self.forget()

    def guarded(self, trainer: Trainer, what: str, cure: str) -> AbstractContextManager[None]:
        """An error inside is said, and costs no run."""
        return self.callback.guarded(trainer, what, cure)

    def forget(self) -> None:
        """A run begins."""
        self._same: set[str] = set()
        self._refused: set[str] = set()
        self.limit.begin()

    def can(self, sample_set: SampleSet) -> bool:
        """Whether the model of chosen samples can be asked."""
        return sample_set.evaluation.key not in self._refused and not sharded(sample_set.module, self.owner)

    @contextlib.contextmanager
    def session(self, module: LightningModule) -> Iterator[None]:
        """Allow forwards and gradients, and leave the module as it was."""
        plain = self.precision == "full" and dtype_of(module) == torch.float32
        context = None if plain else module.trainer.precision_plugin.forward_context()
        with gradient_session(module, self.seed, precision=context), muted(module):
            yield

    @contextlib.contextmanager
    def chunks(self, size: int, trainer: Trainer, *, seconds: float | None, limited: bool = True) -> Iterator[Chunks]:
        """Chunks of rows that are asked for; in a fit as many as it allows.

        Args:
            size: rows at a time.
            trainer: the trainer.
            seconds: for all of them.
            limited: whether passes are.
        """
        passes = self.limit.left if limited and trainer.state.fn == "fit" else None
        with progress(trainer, self.owner) as advance:
            device = trainer.strategy.root_device
            chunks = Chunks(size, seconds=seconds, passes=passes, advance=advance, expect=advance.expect, device=device)
            try:
                yield chunks
            finally:
                self.limit.spent += chunks.spent

    def model(self, module: LightningModule) -> Callable[[Tensor], Any]:
        """From inputs to what the module gives, whatever that is."""
        forward_fn = self.forward_fn
        return module if forward_fn is None else lambda x: forward_fn(module, x)

    def scorer(self, sample_set: SampleSet) -> Scorer:
        """From inputs, and the samples that they are of, to logits; all samples in order where none are named."""
        forward_fn, module, reading = self.forward_fn, sample_set.module, self.callback.reading
        if forward_fn is not None:
            return lambda inputs, _samples=None: reading.as_read(forward_fn(module, inputs))
        context = [sent(part, module.device) for part in sample_set.chosen.context]

        def score(inputs: Tensor, samples: Tensor | None = None) -> Tensor:
            rows = slice(None) if samples is None else samples
            return sample_set.evaluation.again(inputs, tuple(part[rows] for part in context))

        return score

    def check(self, sample_set: SampleSet, trainer: Trainer) -> None:
        """See once, in the epoch in which samples were chosen, that their scores are those that the step gave."""
        key = sample_set.evaluation.key
        if key in self._same or not trainer.is_global_zero or not self.can(sample_set):
            return
        self._refused.add(key)
        with self.guarded(trainer, "explain the samples", CURE), self.session(sample_set.module), torch.no_grad():
            scorer, inputs = self.scorer(sample_set), sample_set.inputs(self.kind)
            found = scorer(inputs.clone()).detach().cpu()
            self.limit.spent += FORWARD * len(inputs)
            compare(sample_set, found)
            few = min(AGAIN, len(inputs) // 2)
            if self.precision == "full" and few:
                self.limit.spent += FORWARD * few
                again = scorer(inputs[:few].clone(), torch.arange(few, device=inputs.device))
                compare_calls(found, again.detach().cpu())
            self._refused.remove(key)
            self._same.add(key)

    def explained(
        self,
        sample_set: SampleSet | None,
        trainer: Trainer,
        explain: Callable[[SampleSet], Shown],
        others: Callable[[Mapping[str, float]], Shown],
        *,
        cure: str = CURE,
    ) -> Shown | None:
        """What ``explain`` gives on the first rank, and on others what they make of its figures; all ranks together.

        Args:
            sample_set: the samples, or None.
            trainer: the trainer.
            explain: opens a session; an error in it is said, and there is no result.
            others: from figures to a result without samples.
            cure: what a user may do where that fails.
        """
        found: list[Shown] = []
        if sample_set is not None and trainer.is_global_zero and self.can(sample_set):
            with self.guarded(trainer, "explain the samples", cure):
                found.append(explain(sample_set))
        figures = of_first_rank(trainer, dict(found[0].figures) if found else None)
        if found or figures is None:
            return found[0] if found else None
        return others(figures)
