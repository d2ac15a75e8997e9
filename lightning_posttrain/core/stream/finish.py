"""The end of an epoch: what all ranks have read of each loader, and what that amounts to."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from lightning_posttrain.core.capture.loaders import named_loaders, stage_of
from lightning_posttrain.core.capture.own_figures import of_epoch
from lightning_posttrain.core.stream.epoch import Epoch, Place, place_of
from lightning_posttrain.core.stream.evaluation import Evaluation
from lightning_posttrain.core.stream.exchange import State, joined, rows_told, states_of
from lightning_posttrain.core.stream.faults import Faults
from lightning_posttrain.core.stream.fold import part_of
from lightning_posttrain.core.stream.ranks import over_ranks
from lightning_posttrain.core.stream.reading import Reading
from lightning_posttrain.core.stream.roll_call import RollCall
from lightning_posttrain.core.stream.shared_rows import mark_of_rows, shared_rows
from lightning_posttrain.core.stream.step_reader import Readers
from lightning_posttrain.core.stream.told import Told

ROOM = 24
"""Numbers of rows that a rank tells of a place in the roll call; of more states that grow, ranks tell apart."""


def finished(
    trainer: Trainer, module: LightningModule, epoch: Epoch, readers: Readers, told: Told, faults: Faults
) -> dict[Reading, list[Evaluation]]:
    """The evaluation of every loader under every reading; all ranks together."""
    places = [(i, reading) for i in range(len(named_loaders(trainer))) for reading in readers]
    states: dict[Place, list[State]] = {}
    for place in places:
        if place in epoch.parts:
            with faults.noted(trainer, f"count the rows of {_key(trainer, place)}", epoch.void, place):
                epoch.parts[place].flush()
                if trainer.world_size > 1:
                    states[place] = states_of(epoch.parts[place].metrics.values())
    if trainer.world_size > 1:
        join(trainer, module, epoch, readers, faults, places=places, states=states)
    return {reading: _evaluations(trainer, module, epoch, reading, told, faults) for reading in readers}


def join(
    trainer: Trainer,
    module: LightningModule,
    epoch: Epoch,
    readers: Readers,
    faults: Faults,
    *,
    places: Sequence[Place],
    states: dict[Place, list[State]],
) -> None:
    """Give each rank what all have of each place; where one rank has something missing, all leave it out.

    Args:
        trainer: of the run.
        module: the user's.
        epoch: what this rank has read.
        readers: who wants what, for a place of which it has read nothing.
        faults: says what goes wrong.
        places: the same on all ranks.
        states: what this rank has counted, of places that it has read.
    """
    call, owners = RollCall(), [(member, part) for member in faults.members for part in member.parts()]
    void = call.add(epoch.is_void(place) for place in places)
    out = call.add(stage_of(trainer) in {*member.out, *part.out} for member, part in owners)
    likeness = {place: call.add(_likeness(epoch, place)) for place in places}
    room = call.add(epoch.room or ())
    seen = {place: call.add([mark_of_rows(epoch.parts.get(place))]) for place in places}
    rows = {place: call.add(_rows(states.get(place, []))) for place in places}
    call.answered(trainer)
    epoch.out = [part for (_, part), any_rank in zip(owners, call.of(out).any(0).tolist(), strict=True) if any_rank]
    epoch.room = None if epoch.room is None else call.of(room)[0].bool().tolist()
    epoch.void |= {place for place, any_rank in zip(places, call.of(void).any(0).tolist(), strict=True) if any_rank}
    for place in places:
        if not epoch.is_void(place):
            with faults.noted(trainer, f"join the ranks' rows of {_key(trainer, place)}", epoch.void, place):
                _agree(trainer, module, epoch, place, call.of(likeness[place]), readers)
    whole = [place for place in places if place in epoch.parts and not epoch.is_void(place)]
    for doubt in shared_rows(trainer, {place: call.of(seen[place])[:, 0] for place in whole}):
        faults.say(doubt)
    mine = [states.get(place) or states_of(epoch.parts[place].metrics.values()) for place in whole]
    told = [call.of(rows[place])[:, : len(rows_told(each))] for place, each in zip(whole, mine, strict=True)]
    known = bool(told) and all(len(rows_told(each)) <= ROOM for each in mine)
    all_states = [state for each in mine for state in each]
    over_ranks(trainer, joined(all_states, trainer.global_rank, torch.cat(told, dim=1) if known else None))


def _rows(states: Sequence[State]) -> list[int]:
    told = rows_told(states)[:ROOM]
    return told + [0] * (ROOM - len(told))


def _likeness(epoch: Epoch, place: Place) -> tuple[int, ...]:
    return epoch.parts[place].likeness if place in epoch.parts else (0,) * len(place[1].alike)


def _agree(
    trainer: Trainer, module: LightningModule, epoch: Epoch, place: Place, told: Tensor, readers: Readers
) -> None:
    """Give a rank that saw no batch of a loader the metrics that the other ranks have for it.

    Raises:
        ValueError: two ranks saw batches that are not alike.
    """
    likeness = []
    for name, column in zip(place[1].alike, told.t(), strict=True):
        seen = column[column != 0]
        least, most = (int(seen.min()), int(seen.max())) if len(seen) else (0, 0)
        if least != most:
            raise ValueError(f"`{name}` is {least} on one rank and {most} on another; pass {name}=...")
        likeness.append(most)
    if any(likeness) and place not in epoch.parts:
        kind = place[1]
        epoch.parts[place] = part_of(trainer, tuple(likeness), readers[kind], kind, module.device)


def _evaluations(
    trainer: Trainer, module: LightningModule, epoch: Epoch, reading: Reading, told: Told, faults: Faults
) -> list[Evaluation]:
    evaluations = []
    for i, (suffix, loader, expected) in enumerate(named_loaders(trainer)):
        place = (i, reading)
        if epoch.is_void(place):
            continue
        if place not in epoch.parts:
            if not expected:
                faults.say(f"lightning_posttrain: {stage_of(trainer) + suffix} had no batch and has no report.")
            continue
        own = of_epoch(trainer, i)  # all ranks together
        with faults.noted(trainer, f"work out the figures of {stage_of(trainer) + suffix}", epoch.void, place):
            part = epoch.parts[place]
            evaluations.append(
                Evaluation(
                    stage=stage_of(trainer),
                    suffix=suffix,
                    names=reading.names(part.likeness, loader),
                    results=part.results(),
                    independent=part.independent,
                    again=reading.model(module, told.finder(place_of(trainer, i), reading), part.likeness),
                    own=own,
                    resumed=epoch.resumed,
                )
            )
    return evaluations


def _key(trainer: Trainer, place: Place) -> str:
    return stage_of(trainer) + named_loaders(trainer)[place[0]].suffix
