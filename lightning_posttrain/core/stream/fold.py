"""Folds what was found in a step into the metrics of its loader."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from lightning.pytorch import Trainer

from lightning_posttrain.core.capture.batch_parts import parts_of
from lightning_posttrain.core.capture.loaders import Rows, sharding, stage_of
from lightning_posttrain.core.capture.positions import Positions
from lightning_posttrain.core.stream.booking import Bracket
from lightning_posttrain.core.stream.epoch import Epoch, Source
from lightning_posttrain.core.stream.evaluation import Member
from lightning_posttrain.core.stream.faults import Faults
from lightning_posttrain.core.stream.first_batch import Read, first_batch
from lightning_posttrain.core.stream.reading import Batch, Part, Reading
from lightning_posttrain.core.stream.replay import Replay, asked
from lightning_posttrain.core.stream.step_reader import StepReader, ToRead

NO_ROWS = Rows(None, None)


class BatchFolder:
    """Folds batches.

    Args:
        reader: what has read them.
        faults: says what goes wrong.
        clock: is told for whom a batch is folded.
    """

    def __init__(self, reader: StepReader, faults: Faults, clock: Bracket) -> None:
        self._reader = reader
        self._faults = faults
        self._clock = clock
        self._checked: set[tuple[str, Reading]] = set()
        self.positions = Positions(faults.say)

    def fold(self, trainer: Trainer, epoch: Epoch, source: Source, read: Sequence[ToRead], *, named: bool) -> None:
        """Fold what each reading finds in a step; what goes wrong in one spoils no other.

        Args:
            trainer: of the run.
            epoch: the present one.
            source: where the batch comes from.
            read: how to find it.
            named: whether positions in the dataset are wanted.
        """
        rows: Rows | None = None
        for reading, readers, find in read:
            place = (source.number, reading)
            with self._faults.noted(trainer, f"read a batch of {source.key}", epoch.void, place):
                found = find()
                if found is None:
                    continue
                scores, given = found.predictions.detach(), found.given
                if rows is None and not given.selected:
                    counted = source.rows.take(len(given.indices), scores.device)
                    proof = (trainer, source.loader, counted, self._reader.parts, parts_of)
                    rows = self.positions.proven(*proof, key=source.key, wanted=named)
                known = NO_ROWS if given.selected or rows is None else rows
                batch = reading.batch(scores, given, known)
                self._fold(trainer, epoch, source, reading, readers, Read(batch, scores, given))
                stage = stage_of(trainer)
                asking = [member for member in readers if member.asks_again and stage not in member.out]
                for member in () if trainer.sanity_checking else asking:
                    inputs = self._reader.as_given(given.inputs)
                    again = Replay(reading, found, known, trainer.lightning_module, inputs)
                    asked_again = (_replay, trainer, member, source.key, batch, again)
                    with self._clock(f"{member.action}.replay"):
                        member.attempt(trainer, "ask for a batch again", *asked_again)
        if rows is None:
            source.rows.skip()

    def _fold(
        self, trainer: Trainer, epoch: Epoch, source: Source, reading: Reading, readers: list[Member], read: Read
    ) -> None:
        parts, place = epoch.parts, (source.number, reading)
        if (source.key, reading) not in self._checked and place not in epoch.looked_at:
            epoch.looked_at.add(place)
            if first_batch(
                trainer, source.key, reading, readers, read,
                loader=source.number, before=self._reader.told.likeness, say=self._faults.say,
            ):  # fmt: skip
                self._checked.add((source.key, reading))
        if trainer.sanity_checking:
            return
        likeness = reading.likeness(read.batch)
        if place not in parts:
            parts[place] = part_of(trainer, likeness, readers, reading, read.found.device)
        part = parts[place]
        why = reading.unlike(source.key, part.likeness, likeness) if part.likeness != likeness else ""
        if why:
            raise ValueError(why)
        part.add(read.batch)
        if trainer.world_size > 1 and sharding(source.loader) == "unknown":
            part.watch(read.batch)
        for member in (one for one in readers if one.looks):
            with self._clock(f"{member.action}.observe"):
                member.attempt(trainer, "look at a batch", member.observe, source.key, read.batch)


def part_of(
    trainer: Trainer, likeness: tuple[int, ...], readers: Sequence[Member], reading: Reading, device: torch.device
) -> Part:
    """Accumulators for what callbacks need of a reading."""
    needs = [member.attempt(trainer, "name its metrics", member.metrics) or () for member in readers]
    return reading.part(likeness, (kind for kinds in needs for kind in kinds), device)


def _replay(trainer: Trainer, member: Member, key: str, batch: Batch, again: Replay) -> None:
    with asked(trainer, trainer.lightning_module):
        member.replay(key, batch, again)
