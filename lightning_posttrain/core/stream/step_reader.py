"""Listens to a step and finds in it, for each reading, the predictions and what they are for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeAlias

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from lightning_posttrain.core.capture.batch_parts import Path, parts_of
from lightning_posttrain.core.capture.call_again import before
from lightning_posttrain.core.capture.forward import second_forward
from lightning_posttrain.core.capture.listener import Listener
from lightning_posttrain.core.capture.loaders import stage_of
from lightning_posttrain.core.capture.step import Step
from lightning_posttrain.core.capture.tap import Firing, inside_step, outermost
from lightning_posttrain.core.capture.witness import Pair
from lightning_posttrain.core.stream.evaluation import Member
from lightning_posttrain.core.stream.reading import Found, Given, NotCounted, Reading
from lightning_posttrain.core.stream.told import Told

Readers: TypeAlias = Mapping[Reading, list[Member]]
ToRead: TypeAlias = tuple[Reading, list[Member], Callable[[], "Found | None"]]
"""A reading, whose it is, and how to find what a step predicted for it."""


class StepReader:
    """Reads one step at a time.

    Args:
        say: says a text once, told from others by a key.
    """

    def __init__(self, say: Callable[..., None]) -> None:
        self.listener = Listener()
        self.told = Told()
        self._say = say
        self.heard: list[Pair] = []
        self.calls: list[Firing] = []
        self._calls_wanted = False
        self._given: dict[Reading, Given] = {}
        self.parts: dict[Path, Tensor] = {}
        self._before: dict[Path, Tensor] = {}
        self._spoke: set[str] = set()
        self._found: set[tuple[str, Reading]] = set()

    def begin(self, module: LightningModule) -> None:
        """Place hooks for an epoch."""
        self.told.of(module)
        self.listener.attach(module)

    def end(self) -> None:
        """Leave the module as it was."""
        self.listener.detach()
        self._given, self.parts, self._before, self.heard, self.calls = {}, {}, {}, [], []

    def readers(self, stage: str, taking: list[Member]) -> Readers:
        """Callbacks that want a stage by their readings, as far as these are known, each target for itself."""
        found: dict[Reading, list[Member]] = {}
        for part in (part for member in taking for part in member.parts()):
            if not self.told.refused(stage, part.reading):
                found.setdefault(part.reading, []).append(part)
        return found

    def listen(
        self,
        trainer: Trainer,
        module: LightningModule,
        batch: Any,
        taking: list[Member],
        place: str,
        *,
        heard: bool,
        calls: bool = False,
    ) -> None:
        """Read what the loader gave, which the step may change, and listen to the step; None is no batch.

        Args:
            trainer: of the run.
            module: whose step it is.
            batch: of the loader.
            taking: who wants it read.
            place: names the loader.
            heard: whether what reaches losses and metrics is wanted beside.
            calls: whether the networks that the step calls are, with what it gives to them.
        """
        self._given, self.parts, self._before, self._calls_wanted = {}, {}, {}, calls
        if batch is None:
            return
        readings = list(self.readers(stage_of(trainer), taking))
        self._given = {reading: reading.given(batch) for reading in readings}
        self.parts = parts_of(batch)
        asks = any(member.asks_again and stage_of(trainer) not in member.out for member in taking)
        if asks:
            self._before = {path: part.clone() for path, part in self.parts.items()}
        finders = self.told.finders(place, readings)
        of = [None if finder is None else finder.modules for finder in finders]
        self.listener.listen(
            module,
            self.parts,
            *(shape for given in self._given.values() for shape in given.shapes),
            only=None if calls or None in of else {name for names in of for name in names or ()},
            pairs=heard or any(finder is None or finder.listens for finder in finders),
            trains=trainer.training,
            keeping=asks or calls,
        )

    def read(
        self,
        trainer: Trainer,
        module: LightningModule,
        outputs: Any,
        batch: Any,
        taking: list[Member],
        place: str,
    ) -> list[ToRead]:
        """How to find what a step predicted, for each reading; nothing for a batch that was not listened to."""
        stage, given, self._given = stage_of(trainer), self._given, {}
        firings, pairs = self.listener.take()
        self.heard = pairs or []
        wrapped = trainer.strategy.model is not trainer.lightning_module
        self.calls = outermost(inside_step(firings, wrapped=wrapped)) if self._calls_wanted else []
        if not given or self._skipped(place, outputs, silent=not firings and not pairs):
            return []
        step_of = self._steps(trainer, module, outputs, batch, (firings, pairs), wrapped=wrapped)
        self.told.tell(stage, taking, given, step_of)
        found: list[ToRead] = []
        for reading, readers in self.readers(stage, taking).items():
            if reading not in given:
                given[reading] = reading.given_again(given[self.told.said[reading]])
            found.append((reading, readers, partial(self._find, trainer, place, reading, given[reading], step_of)))
        return found

    def as_given(self, value: Any) -> Any:
        """What is of the batch as it was before the step, for who asks again."""
        return before(value, self.parts, self._before)

    def _skipped(self, place: str, outputs: Any, *, silent: bool) -> bool:
        """Whether a step did nothing with its batch, where with others of the loader it ran what predicts."""
        if not silent or outputs is not None:
            self._spoke.add(place)
            return False
        if place in self._spoke:
            self._say(
                f"lightning_posttrain: the {place.partition('/')[0]} step returned nothing for a batch and did not run "
                "what predicts others. The batch is taken as skipped, and its rows are in no figure.",
                f"skipped {place}",
            )
        return place in self._spoke

    def _find(
        self, trainer: Trainer, place: str, reading: Reading, given: Given, step_of: Callable[[Given], Step]
    ) -> Found | None:
        """What one reading finds; None for a batch that is not counted."""
        try:
            found = self.told.finder(place, reading).find(step_of(given), given)
        except NotCounted as reason:
            if not trainer.training:
                raise
            self.told.refuse(stage_of(trainer), reading)
            self._say(f"lightning_posttrain does not read training: {reason}.", "")
            return None
        except ValueError as error:
            if given.problem is None or (place, reading) not in self._found:
                raise
            self._say(
                f"lightning_posttrain: a batch of {place.partition('/')[0]} has no targets, and its rows are in no "
                f"figure: {str(error).rstrip('.')}.",
                f"no targets {place}",
            )
            return None
        self._found.add((place, reading))
        return found

    def _steps(
        self,
        trainer: Trainer,
        module: LightningModule,
        outputs: Any,
        batch: Any,
        heard: tuple[list[Firing], list[Pair] | None],
        *,
        wrapped: bool,
    ) -> Callable[[Given], Step]:
        firings, pairs = heard
        notes: dict[str, Any] = {}

        def step_of(given: Given) -> Step:
            again = second_forward(trainer, module, given.inputs, self.listener.tap, given.shapes)
            shape = given.shapes[0] if given.shapes else torch.Size()
            seen = (firings, again, wrapped, self.parts, pairs, notes, self._before)
            return Step(outputs, batch, given.inputs, given.target, shape, *seen)

        return step_of
