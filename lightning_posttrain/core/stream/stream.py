"""The evaluation stream: one per trainer, through which every batch goes once, whoever asks.

Callbacks join it and name the metrics they need; equal requests get the same metric. It owns the tap, sums
the states of all metrics over ranks in one collective for each dtype, and hands out the results.
"""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from lightning_posttrain.core.capture.batch_parts import parts_of
from lightning_posttrain.core.capture.loaders import RowCounter, Rows, named_loaders, resumes_inside, sharding, stage_of
from lightning_posttrain.core.capture.own_figures import of_epoch
from lightning_posttrain.core.capture.positions import Positions
from lightning_posttrain.core.output.background import BackgroundWriter
from lightning_posttrain.core.stream.epoch import Epoch, Place
from lightning_posttrain.core.stream.evaluation import Evaluation, Member
from lightning_posttrain.core.stream.first_batch import Read, first_batch
from lightning_posttrain.core.stream.ranks import agreed, sum_over_ranks
from lightning_posttrain.core.stream.reading import Batch, Part, Reading
from lightning_posttrain.core.stream.shared_rows import shared_rows
from lightning_posttrain.core.stream.step_reader import Readers, StepReader

NO_ROWS = Rows(None, None)


class EvaluationStream:
    """Reads every batch of an evaluation once, for all callbacks of a trainer."""

    _streams: ClassVar[weakref.WeakKeyDictionary[Trainer, EvaluationStream]] = weakref.WeakKeyDictionary()

    @classmethod
    def of(cls, trainer: Trainer) -> EvaluationStream:
        """The trainer's stream, made when first asked for."""
        return cls._streams.setdefault(trainer, cls())

    def __init__(self) -> None:
        self.folder = ""
        self.writer = BackgroundWriter()
        self._members: list[Member] = []
        self.reader = StepReader(self.say_once)
        self._epochs: dict[str, Epoch] = {}
        self._said: set[str] = set()
        self.taken: dict[str, set[str]] = {}
        self._checked: set[tuple[str, Reading]] = set()
        self.positions = Positions(self.say_once)

    def join(self, member: Member, trainer: Trainer) -> None:
        """Register a callback for the run that begins; all ranks together.

        Raises:
            ValueError: another callback of the same kind and name is there already.
        """
        if trainer.callbacks.count(member) > 1:  # type: ignore[attr-defined]
            raise ValueError(f"the same {member.slot[0]} stands twice among the callbacks; make one for each place.")
        if any(other is not member and other.slot == member.slot for other in self._members):
            kind, name = member.slot
            raise ValueError(f"two {kind} with `name` {name!r} would write over each other; pass name=... to one.")
        if not self._members:
            self.folder = str(trainer.log_dir or trainer.default_root_dir)  # a broadcast
        if member not in self._members:
            self._members.append(member)

    def leave(self, member: Member, *, failed: bool = False) -> None:
        """Wait for what is being written, and forget a callback; with the last one, the hooks and all state.

        A run that ``failed`` has an exception of its own, beside which none of ours is raised.
        """
        writer, self.writer = self.writer, BackgroundWriter()
        try:
            writer.close(quietly=failed)
        finally:
            if member in self._members:
                self._members.remove(member)
            if not self._members:
                self._epochs = {}
                self.reader.end()
                self.reader = StepReader(self.say_once)
                self._said, self.taken, self._checked = set(), {}, set()
                self.positions = Positions(self.say_once)

    def leads(self, member: Member) -> bool:
        """Whether this callback, the first of all, is the one whose hooks drive the stream."""
        return self._members[:1] == [member]

    def ends(self, member: Member) -> bool:
        """Whether this callback is the last of all."""
        return self._members[-1:] == [member]

    def begin(self, trainer: Trainer, module: LightningModule) -> None:
        """Start an epoch of the trainer's present stage, if anybody wants it."""
        if (self._readers(trainer) or self._hears(trainer)) and not resumes_inside(trainer):
            self._epochs[stage_of(trainer)] = Epoch()
            self.reader.begin(module)

    def end(self, trainer: Trainer) -> None:
        """End an epoch; with the last that is open, no hook stays."""
        self._epochs.pop(stage_of(trainer), None)
        if not self._epochs:
            self.reader.end()

    def listen(self, trainer: Trainer, module: LightningModule, batch: Any, loader: int) -> None:
        """Read what the loader gave, which the step may change, and listen to the step."""
        if stage_of(trainer) in self._epochs:
            self.reader.listen(
                trainer, module, batch, self._taking(trainer), _place(trainer, loader), heard=self._hears(trainer)
            )

    def pause(self, *, paused: bool) -> None:
        """Hear nothing while gradients are worked out, for which parts may run once more."""
        self.reader.listener.pause(paused=paused)

    def add(self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, loader: int) -> None:
        """Read a batch and fold it into every metric."""
        epoch = self._epochs.get(stage_of(trainer))
        if epoch is None:
            return
        suffix, source, _ = named_loaders(trainer)[loader]
        key = stage_of(trainer) + suffix
        if loader not in epoch.counters:
            epoch.counters[loader] = RowCounter(source)
        rows: Rows | None = None
        taking = self._taking(trainer)
        named = any(member.names_samples for member in taking)
        found = self.reader.read(trainer, module, outputs, batch, taking, _place(trainer, loader))
        for reading, readers, (predictions, given) in found:
            scores = predictions.detach()
            if rows is None and not given.selected:
                counted = epoch.counters[loader].take(len(given.indices), scores.device)
                came = self.reader.parts
                rows = self.positions.proven(trainer, source, counted, came, parts_of, key=key, wanted=named)
            read = reading.batch(scores, given, NO_ROWS if given.selected or rows is None else rows)
            if (key, reading) not in self._checked:
                self._checked.add((key, reading))
                first_batch(
                    trainer, key, reading, readers, Read(read, scores, given),
                    loader=loader, before=self.reader.told.likeness, say=self.say_once,
                )  # fmt: skip
            if not trainer.sanity_checking:
                shared = trainer.world_size > 1 and sharding(source) == "unknown"
                self._fold(epoch, (loader, reading), readers, read, key, scores, shared=shared)

    def _fold(
        self, epoch: Epoch, place: Place, readers: list[Member], batch: Batch, key: str, found: Tensor, *, shared: bool
    ) -> None:
        likeness = place[1].likeness(batch)
        if place not in epoch.parts:
            epoch.parts[place] = _part(likeness, readers, found.device, place[1])
        part = epoch.parts[place]
        if part.likeness != likeness:
            raise ValueError(place[1].unlike(key, part.likeness, likeness))
        part.add(batch)
        if shared:
            part.watch(batch)
        for member in readers:
            member.observe(key, batch)

    def finish(self, trainer: Trainer, module: LightningModule, reading: Reading) -> list[Evaluation]:
        """The evaluation of every loader, worked out once an epoch; all ranks together."""
        epoch = self._epochs.get(stage_of(trainer))
        if epoch is None:  # the rest of an epoch that a checkpoint was taken in: its first part is not known
            return []
        if epoch.finished is None:
            with torch.inference_mode(False), torch.no_grad():
                self.reader.told.share(trainer, stage_of(trainer), self._taking(trainer))
                readings = self._readers(trainer)
                places = [(i, reading) for i in range(len(named_loaders(trainer))) for reading in readings]
                self._agree(trainer, module, epoch, places)
                parts = [epoch.parts[place] for place in places if place in epoch.parts]
                for doubt in shared_rows(trainer, {place: epoch.parts.get(place) for place in places}):
                    self.say_once(doubt)
                sum_over_ranks(trainer, [metric for part in parts for metric in part.metrics.values()])
                evaluations = (self._evaluations(trainer, module, epoch, reading) for reading in readings)
                epoch.finished = dict(zip(readings, evaluations, strict=True))
        return epoch.finished[reading]

    def say_once(self, text: str, key: str = "") -> None:
        """Warn, unless the same has been said in this run."""
        if (key or text) not in self._said:
            self._said.add(key or text)
            warnings.warn(text, stacklevel=3)

    def _readers(self, trainer: Trainer) -> Readers:
        return self.reader.readers(stage_of(trainer), self._taking(trainer))

    def _hears(self, trainer: Trainer) -> bool:
        return any(member.hears(trainer) for member in self._members)

    def _taking(self, trainer: Trainer) -> list[Member]:
        return [member for member in self._members if member.takes(trainer)]

    def _agree(self, trainer: Trainer, module: LightningModule, epoch: Epoch, places: list[Place]) -> None:
        """Give a rank that saw no batch of a loader the metrics that the other ranks have for it."""
        for place in places:
            if place in epoch.parts:
                epoch.parts[place].flush()
        names = [name for _, reading in places for name in reading.alike]
        mine = [
            number
            for place in places
            for number in (epoch.parts[place].likeness if place in epoch.parts else (0,) * len(place[1].alike))
        ]
        numbers = iter(agreed(trainer, mine, names))
        for place in places:
            likeness = tuple(next(numbers) for _ in place[1].alike)
            if any(likeness) and place not in epoch.parts:
                epoch.parts[place] = _part(likeness, self._readers(trainer)[place[1]], module.device, place[1])

    def _evaluations(
        self, trainer: Trainer, module: LightningModule, epoch: Epoch, reading: Reading
    ) -> list[Evaluation]:
        evaluations = []
        for i, (suffix, loader, expected) in enumerate(named_loaders(trainer)):
            part = epoch.parts.get((i, reading))
            if part is None:
                if not expected:
                    key = stage_of(trainer) + suffix
                    self.say_once(f"lightning_posttrain: {key} had no batch and has no report.")
                continue
            evaluations.append(
                Evaluation(
                    stage=stage_of(trainer),
                    suffix=suffix,
                    names=reading.names(part.likeness, loader),
                    results=part.results(),
                    independent=part.independent,
                    again=reading.model(module, self.reader.told.finder(_place(trainer, i), reading), part.likeness),
                    own=of_epoch(trainer, i),
                )
            )
        return evaluations


def _place(trainer: Trainer, loader: int) -> str:
    return f"{stage_of(trainer)}/{loader}"


def _part(likeness: tuple[int, ...], readers: Sequence[Member], device: torch.device, reading: Reading) -> Part:
    return reading.part(likeness, (kind for member in readers for kind in member.metrics()), device)
