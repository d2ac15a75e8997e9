"""What the networks of one step cost: counted and timed once, without a trace."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from lightning_posttrain.core.capture.tap import Arguments
from lightning_posttrain.core.output.first_line import first_line
from lightning_posttrain.core.statistics.latency import Latency, latencies, rotating
from lightning_posttrain.profile.calls import HeardCalls
from lightning_posttrain.profile.counting import (
    ActivationMemory,
    Architecture,
    ParameterCount,
    activation_memory,
    architecture_of,
    parameter_count,
)
from lightning_posttrain.profile.counting.counter import run_eagerly
from lightning_posttrain.profile.device_timer import timer_of
from lightning_posttrain.profile.session import running

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule, Trainer

FEW = 8
"""Rows of the batch that is counted, at most."""
CALLS = 2000
"""Timed calls of a batch size, at most."""


@dataclass
class Measured:
    """What was found of a model; what could not be is in ``reasons``, by what it is."""

    count: ParameterCount
    architecture: Architecture | None = None
    memory: ActivationMemory | None = None
    latency: Mapping[int, Latency] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)

    @contextmanager
    def attempt(self, what: str) -> Iterator[None]:
        """A figure less is no end of a run: an error inside is the reason why there is none."""
        try:
            yield
        except Exception as error:
            self.reasons[what] = f"{type(error).__name__}: {first_line(error)}"


def measured(
    trainer: Trainer, module: LightningModule, calls: HeardCalls | None, *, sizes: Sequence[int], seconds: float,
    trained: Collection[str] = (),
) -> Measured:  # fmt: skip
    """Count and time the networks of a step.

    Args:
        trainer: of the run.
        module: unwrapped, whole on this process.
        calls: that the step made; None where none was heard.
        sizes: batch sizes for latency.
        seconds: for each of them.
        trained: names of parameters that got a gradient in the run.
    """
    found = Measured(parameter_count(module))
    if calls is None:
        return found
    asked = _Asked(trainer, module, _divided(trainer, module, calls))
    with found.attempt("architecture"):
        found.architecture = asked.counted(trained)
        found.count = found.architecture.parameters
    with found.attempt("memory"):
        found.memory = asked.remembered()
    for size in asked.sizes(sizes) if "architecture" not in found.reasons else ():
        with found.attempt(f"latency, batch {size}"):
            found.latency = {**found.latency, **asked.timed(size, seconds)}
    return found


def _divided(trainer: Trainer, module: LightningModule, calls: HeardCalls) -> HeardCalls:
    """The calls, to be made whole where they cannot be made with another number of rows."""
    if not calls.divides or not calls.complete:
        return calls
    other = min(FEW, calls.rows - 1) or 2
    try:
        with running(trainer, module), run_eagerly():
            calls.run(module, calls.ready(torch.arange(other) % calls.rows, module.device))
    except Exception:  # a mask of as many entries as rows, for one; if it fails with all of them too, that is said
        return calls.whole()
    return calls


@dataclass(frozen=True, eq=False)
class _Asked:
    trainer: Trainer
    module: LightningModule
    calls: HeardCalls

    def counted(self, trained: Collection[str]) -> Architecture:
        rows, run = self._few()
        with running(self.trainer, self.module):
            return architecture_of(self.module, run, rows=rows, trained=trained)

    def remembered(self) -> ActivationMemory:
        _, run = self._few()
        with running(self.trainer, self.module):
            return activation_memory(self.module, run, train_run=self._train_run(run))

    def _few(self) -> tuple[int, Callable[[], Any]]:
        rows = min(FEW, self.calls.rows) if self.calls.divides else self.calls.rows
        ready = self.calls.ready(rows, self.module.device)
        return rows, partial(self.calls.run, self.module, ready)

    def _train_run(self, run: Callable[[], Any]) -> Callable[[], Any] | None:
        # on one rank alone it would wait for the statistics of the others
        if any(isinstance(part, nn.SyncBatchNorm) for part in self.module.modules()):
            return None

        def trains() -> Any:
            with running(self.trainer, self.module, trains=True), run_eagerly():
                return run()

        return trains

    def sizes(self, wanted: Sequence[int]) -> Sequence[int]:
        """Batch sizes that can be timed."""
        return list(dict.fromkeys(wanted if self.calls.divides else [self.calls.rows] * bool(wanted)))

    def timed(self, size: int, seconds: float) -> dict[int, Latency]:
        device = self.module.device

        def batches(size: int) -> Iterator[list[Arguments]]:
            if not self.calls.divides:
                while True:
                    yield self.calls.ready(None, device)
            for index in rotating(self.calls.rows, size):
                yield self.calls.ready(torch.from_numpy(index), device)

        threads = torch.get_num_threads() if device.type == "cpu" else 1
        with running(self.trainer, self.module), torch.inference_mode():
            found = latencies(
                {"": partial(self.calls.run, self.module)}, batches, threads=threads, sizes=[size], calls=CALLS,
                seconds=seconds, timer=timer_of(device),
            )[""]  # fmt: skip
        return {size: one for size, one in found.items() if math.isfinite(one.median)}
