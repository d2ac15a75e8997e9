"""The evaluation stream: one per trainer, through which every batch goes once, whoever asks.

Callbacks join it and name the metrics they need; equal requests get the same metric. It owns the tap, sums
the states of all metrics over ranks in one collective for each dtype, and hands out the results.
"""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from lightning_posttrain.batch import EvalBatch, find_inputs, find_target, to_logits, to_target
from lightning_posttrain.capture import ScoreFinder, Step
from lightning_posttrain.checks import check_batch
from lightning_posttrain.forward import scorer, second_forward
from lightning_posttrain.loaders import RowCounter, Rows, dataset_classes, named_loaders, stage_of
from lightning_posttrain.metrics import EvaluationMetric
from lightning_posttrain.ranks import agreed_classes, sum_over_ranks
from lightning_posttrain.reading import Reading
from lightning_posttrain.results import Result
from lightning_posttrain.tap import Tap

Needs = Mapping[str, type[EvaluationMetric]]


class Member(Protocol):
    """What the stream asks of a callback."""

    @property
    def reading(self) -> Reading:
        """How it reads a batch."""

    @property
    def slot(self) -> tuple[str, str | None]:
        """What its tags begin with; two callbacks with the same one would write over each other."""

    def takes(self, trainer: Trainer) -> bool:
        """Whether it wants the batches of the trainer's present stage."""

    def metrics(self) -> Needs:
        """The metrics it needs, by the name it will ask for."""

    def check(self, module: LightningModule, batch: EvalBatch) -> None:
        """Raise where its arguments do not go with the first batch."""

    def observe(self, key: str, batch: EvalBatch) -> None:
        """See a batch of the loader named ``key``, as ``"val"`` or ``"val/dataloader_1"``."""


@dataclass(eq=False)
class Part:
    """What has been accumulated for one loader under one reading."""

    num_classes: int
    metrics: dict[type[EvaluationMetric], EvaluationMetric] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Evaluation:
    """One loader's finished epoch, as a callback gets it.

    Args:
        stage: ``"val"`` or ``"test"``.
        suffix: what follows a quantity in a tag, as ``""`` or ``"/dataloader_1"``.
        num_classes: ``C``.
        class_names: names that the dataset itself carries, or None.
        results: by metric class.
        scorer: from inputs to logits ``(N, C)``, through the module as it is.
    """

    stage: str
    suffix: str
    num_classes: int
    class_names: tuple[str, ...] | None
    results: Mapping[type[EvaluationMetric], Result]
    scorer: Callable[[Any], Tensor]

    @property
    def key(self) -> str:
        """Stage, and loader where it is not the first, as ``"val"`` or ``"test/dataloader_1"``."""
        return self.stage + self.suffix

    def result(self, kind: type[EvaluationMetric]) -> Any:
        """The result of a metric that was asked for."""
        return self.results[kind]


class EvaluationStream:
    """Reads every batch of an evaluation once, for all callbacks of a trainer."""

    _streams: ClassVar[weakref.WeakKeyDictionary[Trainer, EvaluationStream]] = weakref.WeakKeyDictionary()

    @classmethod
    def of(cls, trainer: Trainer) -> EvaluationStream:
        """The trainer's stream, made when first asked for."""
        return cls._streams.setdefault(trainer, cls())

    def __init__(self) -> None:
        self.folder = ""
        self._members: list[Member] = []
        self._tap = Tap()
        self._finders: dict[Reading, ScoreFinder] = {}
        self._given: dict[Reading, tuple[Any, Any]] = {}
        self._counters: dict[int, RowCounter] = {}
        self._parts: dict[tuple[int, Reading], Part] = {}
        self._finished: dict[Reading, list[Evaluation]] | None = None
        self._said: set[str] = set()
        self._taken: dict[str, set[str]] = {}

    def join(self, member: Member, trainer: Trainer) -> None:
        """Register a callback for the run that begins; all ranks together.

        Raises:
            ValueError: another callback of the same kind and name is there already.
        """
        if any(other is not member and other.slot == member.slot for other in self._members):
            kind, name = member.slot
            raise ValueError(f"two {kind} with `name` {name!r} would write over each other; pass name=... to one.")
        if not self._members:
            self.folder = str(trainer.log_dir or trainer.default_root_dir)  # a broadcast
        if member not in self._members:
            self._members.append(member)

    def leave(self, member: Member) -> None:
        """Forget a callback; with the last one, the hooks and all state."""
        if member in self._members:
            self._members.remove(member)
        if not self._members:
            self.end()
            self._finders, self._said, self._taken = {}, set(), {}

    def leads(self, member: Member) -> bool:
        """Whether this callback, the first of all, is the one whose hooks drive the stream."""
        return self._members[:1] == [member]

    def begin(self, module: LightningModule) -> None:
        """Start an epoch."""
        self._forget()
        # once it is known what the step calls, nothing else needs to be listened to
        called = {name for finder in self._finders.values() for name in finder.names}
        self._tap.attach(module, {"", *called} if self._finders else None)

    def end(self) -> None:
        """End an epoch: no hook stays, no state either."""
        self._forget()
        self._tap.detach()

    def listen(self, trainer: Trainer, batch: Any) -> None:
        """Read what the loader gave, which the step may change, and listen to the step."""
        self._given = {
            reading: (find_target(batch, reading.target_fn), find_inputs(batch, reading.inputs_fn))
            for reading in self._readers(trainer)
        }
        self._tap.listen()

    def add(self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, loader: int) -> None:
        """Read a batch and fold it into every metric."""
        firings = self._tap.take()
        if loader not in self._counters:
            self._counters[loader] = RowCounter(named_loaders(trainer)[loader].loader)
        rows = None
        for reading, readers in self._readers(trainer).items():
            given, inputs = self._given[reading]
            target = to_target(given, reading.task)
            step = Step(outputs, batch, inputs, given, firings, second_forward(trainer, module, inputs))
            scores = self._finders.setdefault(reading, ScoreFinder(reading)).find(step).detach()
            rows = rows or self._counters[loader].take(len(target), scores.device)
            eval_batch = _eval_batch(scores, target.to(scores.device), rows, reading, inputs)
            if (loader, reading) not in self._parts:
                check_batch(eval_batch, scores, given, reading)
                for member in readers:
                    member.check(module, eval_batch)
                self._parts[loader, reading] = _part(eval_batch.num_classes, readers, scores.device)
            if not trainer.sanity_checking:
                self._fold(self._parts[loader, reading], readers, eval_batch, _key(trainer, loader))

    def _fold(self, part: Part, readers: list[Member], batch: EvalBatch, key: str) -> None:
        for metric in part.metrics.values():
            metric.update(batch)
        for member in readers:
            member.observe(key, batch)

    def finish(self, trainer: Trainer, module: LightningModule, reading: Reading) -> list[Evaluation]:
        """The evaluation of every loader, worked out once an epoch; all ranks together."""
        if self._finished is None:
            with torch.inference_mode(False), torch.no_grad():
                readings = self._readers(trainer)
                places = [(i, reading) for i in range(len(named_loaders(trainer))) for reading in readings]
                self._agree(trainer, module, places)
                parts = [self._parts[place] for place in places if place in self._parts]
                sum_over_ranks(trainer, [metric for part in parts for metric in part.metrics.values()])
                evaluations = (self._evaluations(trainer, module, reading) for reading in readings)
                self._finished = dict(zip(readings, evaluations, strict=True))
        return self._finished[reading]

    def say_once(self, text: str, key: str = "") -> None:
        """Warn, unless the same has been said in this run."""
        if (key or text) not in self._said:
            self._said.add(key or text)
            warnings.warn(text, stacklevel=3)

    def taken_names(self, trainer: Trainer) -> set[str]:
        """What the module itself logged before the first report of the stage; all ranks together."""
        return self._taken.setdefault(stage_of(trainer), set(trainer.callback_metrics))

    def _forget(self) -> None:
        self._given, self._counters, self._parts, self._finished = {}, {}, {}, None

    def _readers(self, trainer: Trainer) -> dict[Reading, list[Member]]:
        members = [member for member in self._members if member.takes(trainer)]
        readings = dict.fromkeys(member.reading for member in members)
        return {reading: [member for member in members if member.reading == reading] for reading in readings}

    def _agree(self, trainer: Trainer, module: LightningModule, places: list[tuple[int, Reading]]) -> None:
        """Give a rank that saw no batch of a loader the metrics that the other ranks have for it."""
        mine = [self._parts[place].num_classes if place in self._parts else 0 for place in places]
        for place, most in zip(places, agreed_classes(trainer, mine), strict=True):
            if most and place not in self._parts:
                self._parts[place] = _part(most, self._readers(trainer)[place[1]], module.device)

    def _evaluations(self, trainer: Trainer, module: LightningModule, reading: Reading) -> list[Evaluation]:
        evaluations = []
        for i, (suffix, loader, expected) in enumerate(named_loaders(trainer)):
            part = self._parts.get((i, reading))
            if part is None:
                if not expected:
                    self.say_once(f"lightning_posttrain: {_key(trainer, i)} had no batch and has no report.")
                continue
            evaluations.append(
                Evaluation(
                    stage=stage_of(trainer),
                    suffix=suffix,
                    num_classes=part.num_classes,
                    class_names=dataset_classes(loader, part.num_classes),
                    results={kind: metric.result() for kind, metric in part.metrics.items()},
                    scorer=scorer(module, self._finders.get(reading), reading, part.num_classes),
                )
            )
        return evaluations


def _key(trainer: Trainer, loader: int) -> str:
    return stage_of(trainer) + named_loaders(trainer)[loader].suffix


def _eval_batch(scores: Tensor, target: Tensor, rows: Rows, reading: Reading, inputs: Any) -> EvalBatch:
    valid = rows.valid
    if reading.ignore_index is not None:
        kept = target != reading.ignore_index
        valid = kept if valid is None else valid & kept
    return EvalBatch(to_logits(scores, reading.task, reading.scores), target, valid, rows.index, inputs)


def _part(num_classes: int, readers: Sequence[Member], device: torch.device) -> Part:
    kinds = dict.fromkeys(kind for member in readers for kind in member.metrics().values())
    with torch.inference_mode(False):  # a state made in inference mode could not be changed outside it
        made = {kind: kind(num_classes, sync_on_compute=False).to(device) for kind in kinds}
    return Part(num_classes, made)
