"""Listens to a step and finds in it, for each reading, the predictions and what they are for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from lightning_posttrain.core.capture.batch_parts import Path, parts_of
from lightning_posttrain.core.capture.forward import second_forward
from lightning_posttrain.core.capture.listener import Listener
from lightning_posttrain.core.capture.loaders import stage_of
from lightning_posttrain.core.capture.step import Step
from lightning_posttrain.core.capture.witness import Pair
from lightning_posttrain.core.stream.evaluation import Member
from lightning_posttrain.core.stream.reading import Found, Given, NotCounted, Reading
from lightning_posttrain.core.stream.told import Told

Readers = Mapping[Reading, list[Member]]


class StepReader:
    """Reads one step at a time.

    Args:
        say: what is to be said once.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self.listener = Listener()
        self.told = Told()
        self._say = say
        self.heard: list[Pair] = []
        self._given: dict[Reading, Given] = {}
        self.parts: dict[Path, Tensor] = {}

    def begin(self, module: LightningModule) -> None:
        """Place hooks for an epoch."""
        self.told.of(module)
        self.listener.attach(module)

    def end(self) -> None:
        """Leave the module as it was."""
        self.listener.detach()
        self._given, self.parts, self.heard = {}, {}, []

    def readers(self, stage: str, taking: list[Member]) -> Readers:
        """Callbacks that want a stage by their readings, as far as these are known, each target for itself."""
        found: dict[Reading, list[Member]] = {}
        for part in (part for member in taking for part in member.parts()):
            if not self.told.refused(stage, part.reading):
                found.setdefault(part.reading, []).append(part)
        return found

    def listen(
        self, trainer: Trainer, module: LightningModule, batch: Any, taking: list[Member], place: str, *, heard: bool
    ) -> None:
        """Read what the loader gave, which the step may change, and listen to the step."""
        readings = list(self.readers(stage_of(trainer), taking))
        self._given = {reading: reading.given(batch) for reading in readings}
        self.parts = parts_of(batch)
        finders = self.told.finders(place, readings)
        of = [None if finder is None else finder.modules for finder in finders]
        self.listener.listen(
            module,
            self.parts,
            *(shape for given in self._given.values() for shape in given.shapes),
            only=None if None in of else {name for names in of for name in names or ()},
            pairs=heard or any(finder is None or finder.listens for finder in finders),
            trains=trainer.training,
        )

    def read(
        self,
        trainer: Trainer,
        module: LightningModule,
        outputs: Any,
        batch: Any,
        taking: list[Member],
        place: str,
    ) -> Iterator[tuple[Reading, list[Member], Found]]:
        """What a step predicted, for each reading; nothing for a batch that was not listened to, as None."""
        stage, given, self._given = stage_of(trainer), self._given, {}
        step_of = self._steps(trainer, module, outputs, batch)
        if not given:
            return
        self.told.tell(stage, taking, given, step_of)
        for reading, readers in self.readers(stage, taking).items():
            if reading not in given:
                given[reading] = reading.given_again(given[self.told.said[reading]])
            try:
                found = self.told.finder(place, reading).find(step_of(given[reading]), given[reading])
            except NotCounted as reason:
                if not trainer.training:
                    raise
                self.told.refuse(stage, reading)
                self._say(f"lightning_posttrain does not read training: {reason}.")
                continue
            yield reading, readers, found

    def _steps(self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any) -> Callable[[Given], Step]:
        firings, pairs = self.listener.take()
        self.heard = pairs or []
        wrapped = trainer.strategy.model is not trainer.lightning_module
        notes: dict[str, Any] = {}

        def step_of(given: Given) -> Step:
            again = second_forward(trainer, module, given.inputs, self.listener.tap, given.shapes)
            shape = given.shapes[0] if given.shapes else torch.Size()
            seen = (firings, again, wrapped, self.parts, pairs, notes)
            return Step(outputs, batch, given.inputs, given.target, shape, *seen)

        return step_of
