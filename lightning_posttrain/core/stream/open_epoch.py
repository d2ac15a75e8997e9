"""A training epoch whose last batch was read and whose end had not come when a checkpoint was written.

A checkpoint that is written at the end of validation stands between the two: the run that goes on from it ends the
epoch without a batch. So what the epoch had counted travels along, under a key of its own, of all ranks together, up to
``LARGEST`` bytes. Of a checkpoint from within an epoch nothing is known that a run could go on with: how many batches
there are to come depends on the loader. Then the training figures of that epoch are not known, which is said.
"""

from __future__ import annotations

import copy
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from lightning_posttrain.core.capture.loaders import epoch_is_read, goes_on_inside
from lightning_posttrain.core.stream.epoch import Epoch, Place
from lightning_posttrain.core.stream.evaluation import Member
from lightning_posttrain.core.stream.fold import part_of
from lightning_posttrain.core.stream.metric import StreamMetric
from lightning_posttrain.core.stream.ranks import sum_over_ranks, told_by_each
from lightning_posttrain.core.stream.reading import Part, Reading
from lightning_posttrain.core.stream.step_reader import StepReader

KEY = "lightning_posttrain"
LARGEST = 1 << 24
"""Bytes of an epoch's counts that a checkpoint takes."""
States = dict[str, dict[str, Tensor]]
Slot = tuple[str, "str | None"]


class OpenEpoch:
    """What of a training epoch goes into a checkpoint, and comes out of it.

    ``resumes`` says whether a run goes on in an epoch that has had its last batch, ``lost`` whether in one of which it
    does not know what training had counted.

    Args:
        say: warns of a text, once.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._noted: tuple[Epoch, dict[Place, States]] | None = None
        self._loaded: dict[str, Any] | None = None
        self.lost = self.resumes = False

    # written

    def note(self, trainer: Trainer, epoch: Epoch | None) -> None:
        """Sum over ranks, after a validation, what a checkpoint that is written now takes; all ranks together."""
        self._noted = None
        if trainer.world_size == 1 or epoch is None or epoch.finished is not None or not epoch_is_read(trainer):
            return
        copies = {place: copy.deepcopy(dict(part.metrics)) for place, part in _flushed(epoch).items()}
        metrics = [metric for kinds in copies.values() for metric in kinds.values()]
        fixed = sum(_bytes(state) for metric in metrics for state in metric.states().values())
        told = told_by_each(trainer, torch.tensor([_mark(epoch), fixed <= LARGEST]))
        if bool((told == told[0]).all() and told[0, 1]):
            sum_over_ranks(trainer, metrics)
            self._noted = epoch, {place: _states(kinds) for place, kinds in copies.items()}

    def state(
        self, trainer: Trainer, epoch: Epoch | None, members: Sequence[Member], reader: StepReader
    ) -> dict[str, Any]:
        """What a checkpoint that is written now holds; nothing where no training epoch is open."""
        if epoch is None or epoch.finished is not None:
            return {}
        now: dict[str, Any] = {"epoch": trainer.current_epoch}
        found = self._of(trainer, epoch)
        size = sum(
            _bytes(state) for kinds in (found or {}).values() for each in kinds.values() for state in each.values()
        )
        if found is not None and size <= LARGEST:
            slots: dict[Reading, list[Slot]] = {}
            for member in members:
                slots.setdefault(member.said, []).append(member.slot)
            now["parts"] = [
                _written(place, epoch.parts[place], states, slots, reader) for place, states in found.items()
            ]
        return {"train": now}

    def _of(self, trainer: Trainer, epoch: Epoch) -> dict[Place, States] | None:
        """The counts of all ranks, where the epoch has had its last batch, and none is missing."""
        if not epoch_is_read(trainer) or epoch.void:
            return None
        if trainer.world_size == 1:
            return {place: _states(part.metrics) for place, part in _flushed(epoch).items()}
        return self._noted[1] if self._noted is not None and self._noted[0] is epoch else None

    # read

    def take(self, state: Any) -> None:
        """Keep what a checkpoint holds until training begins."""
        self._loaded = state.get("train") if isinstance(state, dict) else None

    def resume(
        self, trainer: Trainer, module: LightningModule, members: Sequence[Member], reader: StepReader
    ) -> Epoch | None:
        """The epoch that ends without a batch of this run, where training begins in it.

        Raises:
            Exception: what the checkpoint holds is broken.
        """
        loaded, self._loaded = self._loaded, None
        inside = goes_on_inside(trainer)
        if loaded is None and not inside:
            return None
        whole = loaded is not None and "parts" in loaded and inside and epoch_is_read(trainer)
        epoch = self._resumed(loaded["parts"], trainer, module, members, reader) if loaded and whole else None
        self.lost, self.resumes = epoch is None, epoch is not None
        return epoch

    def _resumed(
        self,
        parts: Sequence[Mapping[str, Any]],
        trainer: Trainer,
        module: LightningModule,
        members: Sequence[Member],
        reader: StepReader,
    ) -> Epoch | None:
        """The epoch; None where callbacks want figures that those of before did not."""
        reader.told.of(module)
        _tell(parts, members, reader)
        epoch = Epoch(resumed=True)
        for reading, readers in reader.readers("train", [*members]).items():
            for written in parts:
                if _is_of(written, reading, members, reader):
                    part = part_of(trainer, tuple(written["likeness"]), readers, reading, module.device)
                    if not _fill(part, written):
                        return None
                    epoch.parts[int(written["loader"]), reading] = part
        if len({reading for _, reading in epoch.parts}) < len(reader.readers("train", [*members])):
            return None
        if trainer.global_rank > 0:  # the first goes on with the sum of all
            epoch.parts = {}
        return epoch

    def say_lost(self) -> None:
        """Say that an epoch has no figures of training, where that is so."""
        if self.lost:
            self._say(
                "lightning_posttrain: figures of training are not known for the epoch in which the checkpoint was "
                "written, as it does not hold all that had been counted. Those of later epochs are whole. A checkpoint "
                "loses none that is written at an epoch's end: ModelCheckpoint(save_on_train_epoch_end=True)."
            )


def _flushed(epoch: Epoch) -> dict[Place, Part]:
    for part in epoch.parts.values():
        part.flush()
    return epoch.parts


def _states(metrics: Mapping[type[StreamMetric], StreamMetric]) -> States:
    """States on the CPU, by name of the metric and their own."""
    return {
        kind.__name__: {name: state.detach().to("cpu", copy=True) for name, state in metric.states().items()}
        for kind, metric in metrics.items()
    }


def _bytes(state: Tensor) -> int:
    return state.numel() * state.element_size()


def _mark(epoch: Epoch) -> int:
    """A number that two ranks share if they have the same metrics of the same loaders."""
    seen = [
        (loader, *reading.told.items(), part.likeness, [kind.__name__ for kind in part.metrics])
        for (loader, reading), part in epoch.parts.items()
    ]
    return zlib.crc32(repr(seen).encode())


def _written(
    place: Place, part: Part, states: States, slots: Mapping[Reading, Sequence[Slot]], reader: StepReader
) -> dict[str, Any]:
    """One loader's counts in plain values; the reading is named by callbacks that have it, and what it was told."""
    loader, reading = place
    said, target = reader.told.origin(reading)
    return {
        "slots": [list(slot) for slot in slots[said]],
        "target": target,
        "told": dict(reading.told),
        "loader": loader,
        "likeness": list(part.likeness),
        "independent": part.independent,
        "states": states,
    }


def _tell(parts: Sequence[Mapping[str, Any]], members: Sequence[Member], reader: StepReader) -> None:
    """Let members know what steps had told them."""
    by_slot = {member.slot: member.said for member in members}
    told: dict[Reading, dict[str, Any]] = {}
    for written in parts:
        for said in {by_slot[slot] for slot in map(tuple, written["slots"]) if slot in by_slot}:
            told.setdefault(said, {})[written["target"]] = written["told"]
    for said, targets in told.items():
        reader.told.tell_again("train", said, targets, [member for member in members if member.said == said])


def _is_of(written: Mapping[str, Any], reading: Reading, members: Sequence[Member], reader: StepReader) -> bool:
    said, target = reader.told.origin(reading)
    return written["target"] == target and any(
        member.said == said and list(member.slot) in written["slots"] for member in members
    )


def _fill(part: Part, written: Mapping[str, Any]) -> bool:
    """Give a part that is empty the counts of a checkpoint; whether that has all of them."""
    for kind, metric in part.metrics.items():
        states = written["states"].get(kind.__name__, {})
        for name, own in metric.states().items():
            state = states.get(name)
            grows = name in metric.growing
            if not (
                isinstance(state, Tensor) and state.dtype == own.dtype and state.shape[grows:] == own.shape[grows:]
            ):
                return False
            with torch.inference_mode(False):
                held = state.to(metric.device, copy=True)
            setattr(metric, name, [held] if grows else held)
    part.independent = bool(written["independent"])
    return True
