"""The end of an epoch: what all ranks have read of each loader, and what that amounts to."""

from __future__ import annotations

from collections.abc import Sequence

from lightning.pytorch import LightningModule, Trainer

from lightning_posttrain.core.capture.loaders import named_loaders, stage_of
from lightning_posttrain.core.capture.own_figures import of_epoch
from lightning_posttrain.core.stream.epoch import Epoch, Place, place_of
from lightning_posttrain.core.stream.evaluation import Evaluation
from lightning_posttrain.core.stream.faults import Faults
from lightning_posttrain.core.stream.fold import part_of
from lightning_posttrain.core.stream.ranks import agreed, any_rank, sum_over_ranks
from lightning_posttrain.core.stream.reading import Reading
from lightning_posttrain.core.stream.shared_rows import shared_rows
from lightning_posttrain.core.stream.step_reader import Readers
from lightning_posttrain.core.stream.told import Told


def finished(
    trainer: Trainer, module: LightningModule, epoch: Epoch, readers: Readers, told: Told, faults: Faults
) -> dict[Reading, list[Evaluation]]:
    """The evaluation of every loader under every reading; all ranks together."""
    places = [(i, reading) for i in range(len(named_loaders(trainer))) for reading in readers]
    join(trainer, module, epoch, places, readers, faults)
    return {reading: _evaluations(trainer, module, epoch, reading, told, faults) for reading in readers}


def join(
    trainer: Trainer, module: LightningModule, epoch: Epoch, places: Sequence[Place], readers: Readers, faults: Faults
) -> None:
    """Sum what all ranks have of each place; where one rank has something missing, all leave it out."""
    for place in places:
        if place in epoch.parts:
            with faults.noted(trainer, f"count the rows of {_key(trainer, place)}", epoch.void, place):
                epoch.parts[place].flush()
    void = any_rank(trainer, [epoch.is_void(place) for place in places])
    epoch.void |= {place for place, is_void in zip(places, void, strict=True) if is_void}
    whole = [place for place in places if not epoch.is_void(place)]
    _agree(trainer, module, epoch, whole, readers, faults)
    whole = [place for place in whole if not epoch.is_void(place)]
    for doubt in shared_rows(trainer, {place: epoch.parts.get(place) for place in whole}):
        faults.say(doubt)
    parts = [epoch.parts[place] for place in whole if place in epoch.parts]
    sum_over_ranks(trainer, [metric for part in parts for metric in part.metrics.values()])


def _agree(
    trainer: Trainer, module: LightningModule, epoch: Epoch, places: Sequence[Place], readers: Readers, faults: Faults
) -> None:
    """Give a rank that saw no batch of a loader the metrics that the other ranks have for it."""
    mine = [epoch.parts[place].likeness if place in epoch.parts else (0,) * len(place[1].alike) for place in places]
    numbers = iter(agreed(trainer, [number for likeness in mine for number in likeness]))
    for place in places:
        likeness = []
        with faults.noted(trainer, f"join the ranks' rows of {_key(trainer, place)}", epoch.void, place):
            for name, (least, most) in [(name, next(numbers)) for name in place[1].alike]:
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
