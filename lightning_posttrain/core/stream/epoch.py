"""One epoch of one stage: what has been read of each of its loaders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from lightning.pytorch import Trainer

from lightning_posttrain.core.capture.loaders import RowCounter, named_loaders, stage_of
from lightning_posttrain.core.stream.evaluation import Evaluation, Member
from lightning_posttrain.core.stream.reading import Part, Reading

Place = tuple[int, Reading]


@dataclass(frozen=True, eq=False)
class Source:
    """A loader of an epoch.

    Args:
        number: among the stage's.
        loader: itself.
        key: as ``"val"`` or ``"val/dataloader_1"``.
        place: as ``"val/0"``.
        rows: counts its rows.
    """

    number: int
    loader: Any
    key: str
    place: str
    rows: RowCounter


def place_of(trainer: Trainer, number: int) -> str:
    """The stage and the number of a loader, as ``"val/0"``."""
    return f"{stage_of(trainer)}/{number}"


@dataclass(eq=False)
class Epoch:
    """The state of one epoch.

    Attributes:
        sources: loaders that gave a batch, by number.
        parts: what was accumulated.
        looked_at: places of whose first batch it was seen whether all is as it must be.
        void: loaders, or single readings of them, of which something is missing, so that they have no figures.
        out: callbacks that left something out on any rank, as ranks told each other; None where they have not.
        resumed: whether its batches were before the checkpoint that the run goes on from.
        room: of the first rank, for each share that optional work keeps to, whether a fit has room for it, before that
            as this rank would have it; None where it is not asked, or decided.
        finished: what there is to report, by reading, once that is worked out.
    """

    sources: dict[int, Source] = field(default_factory=dict)
    parts: dict[Place, Part] = field(default_factory=dict)
    looked_at: set[Place] = field(default_factory=set)
    void: set[tuple[int, Reading | None]] = field(default_factory=set)
    out: Sequence[Member] | None = None
    resumed: bool = False
    room: list[bool] | None = None
    finished: dict[Reading, list[Evaluation]] | None = None

    def source(self, trainer: Trainer, number: int) -> Source:
        """A loader by its number."""
        if number not in self.sources:
            suffix, loader, _ = named_loaders(trainer)[number]
            key, place = stage_of(trainer) + suffix, place_of(trainer, number)
            self.sources[number] = Source(number, loader, key, place, RowCounter(loader))
        return self.sources[number]

    def is_void(self, place: Place) -> bool:
        """Whether a loader has no figures under a reading."""
        return place in self.void or (place[0], None) in self.void
