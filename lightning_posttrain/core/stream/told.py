"""What steps have told: which readings those of callbacks amount to, and what finds their predictions."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar

import torch.distributed as dist
from lightning.pytorch import LightningModule, Trainer

from lightning_posttrain.core.capture.step import Step
from lightning_posttrain.core.stream.evaluation import Member
from lightning_posttrain.core.stream.reading import Finder, Given, Reading

Stage = str
Readings = Mapping[str, Reading]


class Told:
    """What the steps of one run have told.

    A later run of the same module, as a test after a fit, is taught by it, where its own steps say less.
    """

    _modules: ClassVar[weakref.WeakKeyDictionary[LightningModule, dict[str, Any]]] = weakref.WeakKeyDictionary()

    def __init__(self) -> None:
        self.said: dict[Reading, Reading] = {}
        self._finders: dict[tuple[str, Reading], Finder] = {}
        self._done: set[tuple[Stage, Reading]] = set()
        self._refused: set[tuple[Stage, Reading]] = set()
        self._shared: set[tuple[Stage, Reading]] = set()
        self._memory: dict[str, Any] = _nothing()

    def of(self, module: LightningModule) -> None:
        """Remember what a module has told before."""
        self._memory = self._modules.setdefault(module, _nothing())

    @property
    def likeness(self) -> dict[Any, Any]:
        """What is equal in all batches of a reading and loader, as a stage saw it first."""
        found: dict[Any, Any] = self._memory["likeness"]
        return found

    def finders(self, place: str, readings: Iterable[Reading]) -> list[Finder | None]:
        """Those that there are; None for a reading of which no step was seen."""
        return [self._finders.get((place, reading)) for reading in readings]

    def finder(self, place: str, reading: Reading) -> Finder:
        """The finder of a reading for one loader of a stage, taught by those of others."""
        if (place, reading) not in self._finders:
            kept = self._memory["finders"]
            taught = [finder for (other, r), finder in kept.items() if r == reading and other != place]
            self._finders[place, reading] = kept[place, reading] = reading.finder(taught)
        return self._finders[place, reading]

    def refuse(self, stage: Stage, reading: Reading) -> None:
        """Read it no more in this stage."""
        self._refused.add((stage, reading))

    def refused(self, stage: Stage, reading: Reading) -> bool:
        """Whether it is not to be read in a stage."""
        return (stage, reading) in self._refused

    def tell(
        self,
        stage: Stage,
        members: Iterable[Member],
        given: Mapping[Reading, Given],
        step_of: Callable[[Given], Step],
    ) -> None:
        """Let members know which readings theirs amount to, at the first step of a stage.

        Raises:
            ValueError: the step contradicts what a user said, or what another stage told.
        """
        for said, group in _by_said(members).items():
            if (stage, said) not in self._done:
                own = next(given[reading] for reading in (said, *self._known(said).values()) if reading in given)
                self._settle(stage, said, said.hear(step_of(own), own), group)

    def origin(self, reading: Reading) -> tuple[Reading, str]:
        """What a user said that a reading comes from, and the target that it is of, "" where there is one."""
        said = self.said.get(reading, reading)
        return said, next((name for name, known in self._known(said).items() if known == reading), "")

    def tell_again(self, stage: Stage, said: Reading, told: Mapping[str, Any], group: Sequence[Member]) -> None:
        """Let members know what a stage had told by target in the run that a checkpoint comes from."""
        self._settle(stage, said, {name: said.retold(each) for name, each in told.items()}, group)

    def _settle(self, stage: Stage, said: Reading, told: Readings, group: Sequence[Member]) -> None:
        self._done.add((stage, said))
        known = self._known(said)
        if told == {"": said}:
            told = known or told
        elif any(s != stage and r == said for s, r in self._done) and known and stage != "train":
            against = said.differs(known, told)
            if against:
                raise ValueError(f"{stage}: {against}")
            told = known
        self._memory["readings"][said] = told
        self.said.update(dict.fromkeys(told.values(), said))
        for member in group:
            member.tell(told)

    def _known(self, said: Reading) -> Readings:
        known: Readings = self._memory["readings"].get(said, {})
        return known

    def share(self, trainer: Trainer, stage: Stage, members: Iterable[Member]) -> None:
        """Tell a rank that saw no batch in a stage what others were told; all ranks together, once a stage."""
        groups = _by_said(members)
        if trainer.world_size == 1 or all((stage, said) in self._shared for said in groups):
            return
        self._shared.update((stage, said) for said in groups)
        mine = [
            {name: reading.told for name, reading in self._known(said).items()} if (stage, said) in self._done else None
            for said in groups
        ]
        everywhere: list[Any] = [None] * trainer.world_size
        dist.all_gather_object(everywhere, mine)
        for i, (said, group) in enumerate(groups.items()):
            others = next((found[i] for found in everywhere if found[i]), None)
            if others and (stage, said) not in self._done:
                self._settle(stage, said, {name: said.retold(told) for name, told in others.items()}, group)


def _nothing() -> dict[str, Any]:
    return {"readings": {}, "finders": {}, "likeness": {}}


def _by_said(members: Iterable[Member]) -> dict[Reading, list[Member]]:
    """Members by what their users said, in order."""
    groups: dict[Reading, list[Member]] = {}
    for member in members:
        groups.setdefault(member.said, []).append(member)
    return groups
