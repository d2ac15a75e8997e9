"""The evaluation stream: one per trainer, through which every batch goes once, whoever asks.

Callbacks join it and name the metrics they need; equal requests get the same metric. It owns the tap, sums
the states of all metrics over ranks in one collective for each dtype, and hands out the results.
"""

from __future__ import annotations

import warnings
import weakref
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, ClassVar

import torch
from lightning.pytorch import LightningModule, Trainer

from lightning_posttrain.core.capture.loaders import resumes_inside, stage_of
from lightning_posttrain.core.capture.positions import Positions
from lightning_posttrain.core.output.background import BackgroundWriter
from lightning_posttrain.core.output.outlet import Outlet
from lightning_posttrain.core.output.run_log import RunLog
from lightning_posttrain.core.stream.booking import READING, Bracket, both
from lightning_posttrain.core.stream.costs import Costs
from lightning_posttrain.core.stream.epoch import Epoch
from lightning_posttrain.core.stream.evaluation import Evaluation, Member
from lightning_posttrain.core.stream.faults import Faults
from lightning_posttrain.core.stream.finish import finished
from lightning_posttrain.core.stream.fold import BatchFolder
from lightning_posttrain.core.stream.open_epoch import OpenEpoch
from lightning_posttrain.core.stream.reading import Reading
from lightning_posttrain.core.stream.room import proposed
from lightning_posttrain.core.stream.run import run_folder
from lightning_posttrain.core.stream.step_reader import Readers, StepReader


class EvaluationStream:
    """Reads every batch of an evaluation once, for all callbacks of a trainer."""

    _streams: ClassVar[weakref.WeakKeyDictionary[Trainer, EvaluationStream]] = weakref.WeakKeyDictionary()

    @classmethod
    def of(cls, trainer: Trainer) -> EvaluationStream:
        """The trainer's stream, made when first asked for."""
        stream = cls._streams.get(trainer)
        if stream is None:  # every hook of every callback asks, and to make one takes longer than most hooks
            stream = cls._streams[trainer] = cls()
        return stream

    def __init__(self) -> None:
        self.outlet = Outlet()
        self.writer = BackgroundWriter()
        self.members: list[Member] = []
        self.faults = Faults(self.say_once, self.members)
        self._forget()

    def join(self, member: Member, trainer: Trainer) -> None:
        """Register a callback for the run that begins; all ranks together.

        Raises:
            ValueError: another callback of the same kind and name is there already.
        """
        if trainer.callbacks.count(member) > 1:  # type: ignore[attr-defined]
            raise ValueError(f"the same {member.slot[0]} stands twice among the callbacks; make one for each place.")
        if any(other is not member and other.slot == member.slot for other in self.members):
            kind, name = member.slot
            raise ValueError(f"two {kind} with `name` {name!r} would write over each other; pass name=... to one.")
        if not self.members:
            self.outlet.begin(run_folder(trainer))
            self.costs = Costs(trainer.strategy.root_device)
        if member not in self.members:
            self.members.append(member)

    def leave(self, member: Member, *, failed: bool = False) -> None:
        """Wait for what is being written, and forget a callback; with the last one, the hooks and all state.

        A run that ``failed`` has an exception of its own, beside which none of ours is raised.
        """
        writer, self.writer = self.writer, BackgroundWriter()
        try:
            writer.close(quietly=failed, last=partial(self.outlet.last, failed=failed))
        finally:
            if member in self.members:
                self.members.remove(member)
            if not self.members:
                self.outlet.end()
                self.reader.end()
                self._forget()

    def _forget(self) -> None:
        """Begin a run anew."""
        self.reader = StepReader(self.say_once)
        self._booked: Bracket | None = None
        self.costs = Costs(torch.device("cpu"))
        self._batches = BatchFolder(self.reader, self.faults, self.clock)
        self._epochs: dict[str, Epoch] = {}
        self._said: set[str] = set()
        self.log = RunLog()
        self._stage = ""
        self.taken: dict[str, set[str]] = {}
        self.open = OpenEpoch(self.say_once)

    def book(self, clock: Bracket | None) -> None:
        """Let a clock know for whom work is done in hooks of whichever callback comes first; until the run ends.

        Args:
            clock: gives a context for the name of an action; None for no clock.
        """
        self._booked = clock

    def clock(self, action: str) -> AbstractContextManager[Any]:
        """An action of the main thread, as it is counted, for as long as a ``with`` statement lasts."""
        mine = self.costs.bracket(action)
        return mine if self._booked is None else both(mine, self._booked(action))

    @property
    def positions(self) -> Positions:
        """Where samples stand in their datasets."""
        return self._batches.positions

    def leads(self, member: Member) -> bool:
        """Whether this callback, the first of all, is the one whose hooks drive the stream."""
        return self.members[:1] == [member]

    def ends(self, member: Member) -> bool:
        """Whether this callback is the last of all."""
        return self.members[-1:] == [member]

    def begin(self, trainer: Trainer, module: LightningModule) -> None:
        """Start an epoch of the trainer's present stage, if anybody wants it."""
        self._stage = stage_of(trainer)
        goes_on = resumes_inside(trainer) or getattr(self._epochs.get(stage_of(trainer)), "resumed", False)
        wanted = self._readers(trainer) or self._hears(trainer) or self._hears_calls(trainer)
        if wanted and not goes_on:
            self._epochs[stage_of(trainer)] = Epoch()
            with self.clock(READING):
                self.reader.begin(module)

    def end(self, trainer: Trainer) -> None:
        """End an epoch; with the last that is open, no hook stays."""
        self._epochs.pop(stage_of(trainer), None)
        if not trainer.sanity_checking:
            self.open.note(trainer, self._epochs.get("train"))
        if not self._epochs:
            self.reader.end()

    def kept(self, trainer: Trainer) -> dict[str, Any]:
        """What a checkpoint takes of a training epoch that has not ended."""
        return self.open.state(trainer, self._epochs.get("train"), self.members, self.reader)

    def resume(self, trainer: Trainer, module: LightningModule) -> None:
        """Go on with a training epoch that had its last batch before the checkpoint that the run goes on from."""
        epoch = self.open.resume(trainer, module, self._taking(trainer), self.reader)
        if epoch is not None:
            self._epochs["train"] = epoch

    def listen(self, trainer: Trainer, module: LightningModule, batch: Any, loader: int) -> None:
        """Read what the loader gave, which the step may change, and listen to the step."""
        epoch = self._epochs.get(stage_of(trainer))
        if epoch is not None:
            source = epoch.source(trainer, loader)
            heard, calls = self._hears(trainer), self._hears_calls(trainer)
            noted = self.faults.noted(trainer, f"listen to a step of {source.key}", epoch.void, (loader, None))
            with self.clock(READING), noted:
                taking = self._taking(trainer)
                self.reader.listen(trainer, module, batch, taking, source.place, heard=heard, calls=calls)

    def pause(self, *, paused: bool) -> None:
        """Hear nothing while gradients are worked out, for which parts may run once more."""
        with self.clock(READING):
            self.reader.listener.pause(paused=paused)

    def add(self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, loader: int) -> None:
        """Read a batch and fold it into every metric."""
        epoch = self._epochs.get(stage_of(trainer))
        if epoch is None:
            return
        source, taking = epoch.source(trainer, loader), self._taking(trainer)
        noted = self.faults.noted(trainer, f"read a batch of {source.key}", epoch.void, (loader, None))
        with self.clock(READING), self.costs.on_device(READING), noted:
            read = self.reader.read(trainer, module, outputs, batch, taking, source.place)
            named = any(member.names_samples for member in taking)
            self._batches.fold(trainer, epoch, source, read, named=named)

    def finish(self, trainer: Trainer, module: LightningModule, reading: Reading) -> list[Evaluation]:
        """The evaluation of every loader, worked out once an epoch; all ranks together."""
        epoch = self._epochs.get(stage_of(trainer))
        if epoch is None:  # the rest of an epoch that a checkpoint was taken in: its first part is not known
            return []
        if epoch.finished is None:
            with self.clock(READING), self.costs.on_device(READING), torch.inference_mode(False), torch.no_grad():
                self.reader.told.share(trainer, stage_of(trainer), self._taking(trainer))
                readers, told = self._readers(trainer), self.reader.told
                epoch.room = proposed(trainer, self.costs, self.members)
                try:
                    epoch.finished = finished(trainer, module, epoch, readers, told, self.faults)
                finally:
                    if epoch.room is not None:
                        self.costs.budget.settle(epoch.room)
        return epoch.finished.get(reading, [])

    def out_on_any(self, trainer: Trainer, member: Member) -> bool | None:
        """Whether a callback left something out on any rank; None where ranks have not told each other."""
        epoch = self._epochs.get(stage_of(trainer))
        return None if epoch is None or epoch.out is None else any(one is member for one in epoch.out)

    def say_once(self, text: str, key: str = "") -> None:
        """Warn, unless the same has been said in this run."""
        if (key or text) not in self._said:
            self._said.add(key or text)
            self.log.remark(text, self._stage)
            warnings.warn(text, stacklevel=3)

    def _readers(self, trainer: Trainer) -> Readers:
        return self.reader.readers(stage_of(trainer), self._taking(trainer))

    def _hears(self, trainer: Trainer) -> bool:
        return any(member.attempt(trainer, "begin", member.hears, trainer) for member in self.members)

    def _hears_calls(self, trainer: Trainer) -> bool:
        return any(member.attempt(trainer, "begin", member.hears_calls, trainer) for member in self.members)

    def _taking(self, trainer: Trainer) -> list[Member]:
        return [m for m in self.members if m.attempt(trainer, "begin", m.takes, trainer)]
