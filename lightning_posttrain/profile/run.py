"""What a profile goes through in a run: a step's calls heard, seconds counted, all measured at the end."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from lightning_posttrain.core.callback.scalars import finite_numbers
from lightning_posttrain.core.capture.foreign import attribute
from lightning_posttrain.core.capture.loaders import named_loaders, stage_of
from lightning_posttrain.core.stream.ranks import summed, worked_out_first
from lightning_posttrain.core.stream.stream import EvaluationStream
from lightning_posttrain.profile.calls import HeardCalls, NoCallError, heard_calls, plainer
from lightning_posttrain.profile.clock import shared
from lightning_posttrain.profile.clock.actions import MEASURING
from lightning_posttrain.profile.clock.clock import Clock
from lightning_posttrain.profile.clock.spent import spent
from lightning_posttrain.profile.energy import EnergyMeter
from lightning_posttrain.profile.energy_counters import uuids_of
from lightning_posttrain.profile.measuring import Measured, measured
from lightning_posttrain.profile.peak_memory import peak_memory
from lightning_posttrain.profile.result import ProfileReport
from lightning_posttrain.profile.rows import rows_in
from lightning_posttrain.profile.run_time import RunTime, run_time
from lightning_posttrain.profile.settings import Settings
from lightning_posttrain.profile.trained import Trained
from lightning_posttrain.profile.training_time import TrainingTime, monitored_modes
from lightning_posttrain.samples.sample_set import is_sharded

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule, Trainer

NOT_HEARD = "no step was seen whose calls of networks could be heard"
COMPILED = "the whole module is compiled, whose training steps are left alone: validate, or compile its network"
STEPS = 2
"""Steps whose calls are heard: the first may do more than all others."""


class ProfileRun:
    """The state of one ``ModelProfile``.

    Args:
        settings: what the user said.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.time = TrainingTime(settings.modes)
        self.clock = Clock()
        self._energy = EnergyMeter()
        self._calls: HeardCalls | None = None
        self._steps = 0
        self._why = NOT_HEARD
        self._trained = Trained()
        self._sizes: dict[tuple[str, int], Any] = {}
        self._tested, self._tested_until = (0, 0.0), 0.0
        self._measured: Measured | None = None
        self._fits = False

    # the run

    def begin(self, trainer: Trainer, stage: str) -> None:
        """A run begins."""
        self._calls, self._steps, self._why, self._tested = None, 0, NOT_HEARD, (0, time.perf_counter())
        self._fits, self._measured, self._sizes = stage == "fit", None, {}
        if self._fits:
            modes = {**monitored_modes(trainer.callbacks), **self.settings.modes}  # type: ignore[attr-defined]
            self.time, self._trained = TrainingTime(modes), Trained()
        self.clock = shared.taken(trainer, self)
        self._energy = EnergyMeter(uuids_of([trainer.strategy.root_device]))
        self._energy.begin(time.perf_counter())

    def take_up(self, state: Mapping[str, Any]) -> None:
        """Go on with the time that a checkpoint holds, in a fit alone: one for a test was written before its end."""
        if self._fits:
            self.time = TrainingTime(self.time.modes)
            if state:
                self.time.restore(state)

    def end(self, trainer: Trainer) -> None:
        """A run is over."""
        shared.left(trainer, self)
        self._calls = None

    def train_start(self, module: LightningModule) -> None:
        """Training begins."""
        self.time.train_start(time.perf_counter())
        self._trained.begin(module)

    def backward(self) -> None:
        """Gradients are there."""
        self._trained.look()

    def wants_calls(self, trainer: Trainer) -> bool:
        """Whether the calls of the next step are to be heard: of the first validated ones, else of some in training."""
        if self._steps >= STEPS or trainer.sanity_checking:
            return False
        return stage_of(trainer) != "train" or not any(trainer.num_val_batches)

    def see(self, trainer: Trainer, batch: Any, loader: int) -> None:
        """A step was made."""
        if trainer.sanity_checking:
            return
        rows = rows_in(batch, self._batch_size(trainer, loader))
        if trainer.state.fn == "fit":
            self.time.saw(rows)
        else:
            before, since = self._tested
            self._tested = before + rows, since
        self._energy.note(time.perf_counter())
        if self.wants_calls(trainer):
            self._hear(trainer, rows)

    def _hear(self, trainer: Trainer, rows: int) -> None:
        try:
            self._calls = plainer(self._calls, heard_calls(EvaluationStream.of(trainer).reader.calls, rows))
            self._steps += 1
        except NoCallError as error:
            whole = getattr(trainer.lightning_module, "_compiler_ctx", None) is not None
            self._why = COMPILED if whole and trainer.training else str(error).rstrip(".")

    def _batch_size(self, trainer: Trainer, loader: int) -> Any:
        place = stage_of(trainer), loader
        if place not in self._sizes:
            source = named_loaders(trainer)[loader].loader
            self._sizes[place] = attribute(attribute(source, "batch_sampler"), "batch_size")
        return self._sizes[place]

    def evaluation_start(self, trainer: Trainer) -> None:
        """A validation or a test begins."""
        if trainer.state.fn != "fit":
            self._tested = (0, time.perf_counter())
        elif not trainer.sanity_checking:
            self.time.validation_start(time.perf_counter())

    def validation_end(self, trainer: Trainer) -> None:
        """A validation ends; of a test nothing is followed."""
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self.time.validation_end(time.perf_counter(), **_moment(trainer))

    def epoch_end(self, trainer: Trainer) -> None:
        """An epoch of training ends."""
        self.time.epoch_end(time.perf_counter(), **_moment(trainer))

    # the report

    def measure(self, trainer: Trainer, module: LightningModule) -> Measured:
        """What the model costs, on the first rank, known to all; all ranks together."""
        self._tested_until = time.perf_counter()
        with self.clock.bracket(MEASURING):
            self._measured = worked_out_first(trainer, lambda: self._measure(trainer, module))
        return self._measured

    def _measure(self, trainer: Trainer, module: LightningModule) -> Measured:
        sharded = is_sharded(module)
        timed = () if trainer.fast_dev_run else self.settings.batch_sizes  # type: ignore[attr-defined]
        found = measured(
            trainer, module, None if sharded else self._calls, sizes=timed, seconds=self.settings.seconds,
            trained=self._trained.names,
        )  # fmt: skip
        if self._calls is None or sharded:
            found.reasons["a forward"] = "each device has a part of the module alone" if sharded else self._why
        return found

    def report(self, trainer: Trainer, module: LightningModule) -> ProfileReport:
        """What was found until this moment, on the first rank, known to all; all ranks together."""
        found = self._measured or self.measure(trainer, module)
        self._measured = None
        rows = summed(trainer, [*self.time.rows.values(), self._tested[0]])
        told: ProfileReport = worked_out_first(trainer, lambda: self._report(trainer, module, found, rows))
        return told

    def _report(self, trainer: Trainer, module: LightningModule, found: Measured, rows: Sequence[int]) -> ProfileReport:
        rows_of_time = spent(self.clock, EvaluationStream.of(trainer).writer.cpu_seconds())
        return ProfileReport(
            found.count, found.architecture, found.memory, found.latency, self._run_time(trainer, rows), rows_of_time,
            peak_memory(module.device), self._energy.end(time.perf_counter()),
            conditions_of(trainer, module), found.reasons,
        )  # fmt: skip

    def _run_time(self, trainer: Trainer, rows: Sequence[int]) -> RunTime | None:
        """The figures of time, with the rows of all ranks: of training, validation and test."""
        seconds = [*self.time.seconds.values(), self._tested_until - self._tested[1]]
        if trainer.state.fn == "fit" or not rows[2]:
            seconds[2] = 0.0
        if not any(seconds):
            return None
        rates = [many / one if one else math.nan for many, one in zip(rows, seconds, strict=True)]
        speed = dict(zip(("training", "validation", "test"), rates, strict=True))
        targets = self.settings.target if self.time.total else {}  # of a test alone there is nothing to tell
        return run_time(self.time, targets, self._followed(), speed)

    def _followed(self) -> Sequence[str]:
        """Metrics that the user named, and those that a callback monitors."""
        return [name for name in dict.fromkeys([*self.settings.target, *self.time.modes]) if self.time.curve(name)]


def _moment(trainer: Trainer) -> dict[str, Any]:
    values = finite_numbers(trainer.callback_metrics)
    return {"epoch": trainer.current_epoch, "step": trainer.global_step, "values": values}


def conditions_of(trainer: Trainer, module: LightningModule) -> str:
    """Device, threads and precision, in words."""
    device = module.device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type.upper()
    threads = torch.get_num_threads()
    where = f"{name}, {threads} thread{'s' if threads != 1 else ''}" if device.type == "cpu" else name
    kind = "compiled" if any(map(_is_compiled, module.modules())) else "eager"
    return f"{where}, precision {trainer.precision}, {kind}, inputs on the device"


def _is_compiled(part: nn.Module) -> bool:
    """Whether it, or its forward, was compiled by ``torch.compile``."""
    forward = part.forward
    made = hasattr(forward, "_torchdynamo_orig_callable") and not hasattr(forward, "_torchdynamo_disable")
    return made or getattr(part, "_compiled_call_impl", None) is not None
