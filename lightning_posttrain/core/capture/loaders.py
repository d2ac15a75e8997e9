"""What a trainer's dataloaders are called, and which rows of the dataset a batch holds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeVar

import torch
from lightning.pytorch import Trainer
from torch import Tensor
from torch.utils.data import BatchSampler, DistributedSampler, SequentialSampler

from lightning_posttrain.core.capture.class_names import naming_of
from lightning_posttrain.core.capture.foreign import attribute, length

Kept = TypeVar("Kept")
Stage = Literal["train", "val", "test"]
_STAGES: dict[str | None, Stage] = {"test": "test", "train": "train"}


def stage_of(trainer: Trainer) -> Stage:
    """``"test"``, ``"train"`` or ``"val"``; a sanity check is validation."""
    stage = getattr(trainer.state.stage, "value", None)  # to compare Lightning's stages takes twenty times as long
    return _STAGES.get(stage, "val")


def of_other_stages(by_key: Mapping[str, Kept], trainer: Trainer) -> dict[str, Kept]:
    """What is kept by loader, as for ``"val/dataloader_1"``, without the trainer's present stage."""
    stage = stage_of(trainer)
    return {key: kept for key, kept in by_key.items() if key.split("/")[0] != stage}


def resumes_inside(trainer: Trainer) -> bool:
    """Whether a training epoch begins whose first batches were before the checkpoint that it goes on from."""
    loop: Any = getattr(getattr(trainer, "fit_loop", None), "epoch_loop", None)
    if stage_of(trainer) != "train" or not getattr(loop, "restarting", False):
        return False
    progress = loop.batch_progress.current
    first_comes = progress.ready == 1 and progress.processed == 0
    return bool(0 < progress.ready < trainer.num_training_batches and not first_comes)


def goes_on_inside(trainer: Trainer) -> bool:
    """Whether a fit goes on from a checkpoint that was written while a training epoch ran."""
    loop: Any = trainer.fit_loop
    progress = loop.epoch_progress.current
    begun = getattr(loop.epoch_loop, "restarting", False) and loop.epoch_loop.batch_progress.current.ready > 0
    return bool(begun and progress.processed < progress.ready)


def epoch_is_read(trainer: Trainer) -> bool:
    """Whether the running training epoch has had its last batch."""
    progress: Any = trainer.fit_loop.epoch_loop.batch_progress
    return bool(progress.is_last_batch or progress.current.ready == trainer.num_training_batches)


class NamedLoader(NamedTuple):
    """A dataloader of the present stage.

    ``suffix`` follows a quantity in a tag: nothing for the first loader, else ``/dataloader_1`` or the name
    under which the user gave it. ``expected`` is False where it is known, or possible, that no batch comes.
    """

    suffix: str
    loader: Any
    expected: bool


def named_loaders(trainer: Trainer) -> list[NamedLoader]:
    """The dataloaders of the trainer's present stage."""
    stage = stage_of(trainer)
    if stage == "train":
        loader = trainer.train_dataloader
        return [NamedLoader("", loader if attribute(loader, "dataset") is not None else None, True)]
    if _joined(trainer):
        return [NamedLoader("", None, True)]
    given = trainer.test_dataloaders if stage == "test" else trainer.val_dataloaders
    batches = trainer.num_test_batches if stage == "test" else trainer.num_val_batches
    listed = given if isinstance(given, Sequence) else [given]
    named = given if isinstance(given, Mapping) else {f"dataloader_{i}": one for i, one in enumerate(listed)}
    return [
        NamedLoader(f"/{name}" if i else "", loader, i < len(batches) and 0 < batches[i] < math.inf)
        for i, (name, loader) in enumerate(named.items())
    ]


def _joined(trainer: Trainer) -> bool:
    """Whether each batch holds something of every loader, as of a ``CombinedLoader`` that is not sequential."""
    if trainer.testing:
        loop: Any = trainer.test_loop
    else:
        loop = trainer.fit_loop.epoch_loop.val_loop if trainer.state.fn == "fit" else trainer.validate_loop
    combined = getattr(loop, "_combined_loader", None)
    return getattr(combined, "_mode", "sequential") != "sequential"


def dataset_classes(loader: Any, num_classes: int | None = None) -> tuple[str, ...] | None:
    """The names in ``dataset.classes``, if they fit."""
    return naming_of(attribute(loader, "dataset"), num_classes).names


@dataclass(frozen=True, eq=False)
class Rows:
    """``valid (N,)`` bool, or None where no row repeats; ``index (N,)`` int64, or None where not known."""

    valid: Tensor | None
    index: Tensor | None


class RowCounter:
    """Counts a loader's rows through one epoch.

    ``DistributedSampler`` gives rank ``r`` of ``R`` the positions ``r, r + R, ...`` of a list that it first
    pads with repeats to a multiple of ``R``; what lies beyond the dataset's length is such a repeat.
    """

    def __init__(self, loader: Any) -> None:
        self._sampler = sampler_of(loader)
        self._batch_size = attribute(attribute(loader, "batch_sampler"), "batch_size")
        self._known = _in_order(loader) and isinstance(self._sampler, (SequentialSampler, DistributedSampler))
        # of the running epoch, whoever else iterates the loader meanwhile
        self._drawn = attribute(self._sampler, "positions", ())
        self._placed: Tensor | None = None
        # of the whole dataset, where ranks share it
        self._length = length(self._sampler.dataset) if _strided(self._sampler) else None
        self._next = 0

    def keep(self) -> tuple[int, int]:
        """How many rows the next batch has, and how many of them, from the first, are no repeats.

        0 and 0 where that is not known: the sampler repeats none, or the size of batches is not fixed.
        """
        sampler, size = self._sampler, self._batch_size
        if self._length is None or not isinstance(size, int):
            return 0, 0
        rows = min(size, len(sampler) - self._next)
        ours = int(-(-(self._length - sampler.rank) // sampler.num_replicas))
        first, self._next = self._next, self._next + rows
        return rows, min(rows, max(ours - first, 0))

    def take(self, rows: int, device: torch.device) -> Rows:
        """The next ``rows`` rows, in tensors on ``device``."""
        first, self._next = self._next, self._next + rows
        sampler, self._known = self._sampler, self._known and self._as_drawn(first, rows)
        if _tells(sampler):
            drawn = self._drawn_on(device)[first : self._next]
            return Rows(None, drawn if self._known and len(drawn) == rows else None)
        if self._length is not None:
            step = sampler.num_replicas
            repeats = (self._next - 1) * step + sampler.rank >= self._length
            plain = type(sampler) is DistributedSampler and not sampler.shuffle
            position = (
                torch.arange(first, self._next, device=device) * step + sampler.rank if repeats or plain else None
            )
            valid = position < self._length if repeats and position is not None else None
            return Rows(valid, position if plain and self._known else None)
        known = self._known and isinstance(sampler, SequentialSampler)
        return Rows(None, torch.arange(first, self._next, device=device) if known else None)

    def _drawn_on(self, device: torch.device) -> Tensor:
        """What is drawn in the epoch, on a device: to bring a batch's there by itself would make the host wait."""
        if self._placed is None or (len(self._placed) < self._next and len(self._placed) < len(self._drawn)):
            with torch.inference_mode(False):
                self._placed = torch.tensor(self._drawn, dtype=torch.int64, device=device)
        return self._placed

    def skip(self) -> None:
        """Pass over a batch of as many rows as are drawn for each; where that is not fixed, no position is known on."""
        size = self._batch_size
        if isinstance(size, int):
            self._next += size
        else:
            self._known = False

    def _as_drawn(self, first: int, rows: int) -> bool:
        """Whether a batch has as many rows as were drawn for it; if not, they are not those at its positions."""
        size, drawn = self._batch_size, length(self._sampler)
        return not isinstance(size, int) or drawn is None or rows == min(size, drawn - first)


def _in_order(loader: Any) -> bool:
    """Whether batches are what the sampler draws, one after the other."""
    return type(attribute(loader, "batch_sampler")) is BatchSampler and attribute(loader, "in_order", True)


def sharding(loader: Any) -> Literal["masked", "padded", "unknown"]:
    """What is known of how ranks share a loader's rows.

    ``"masked"``: each row counts once. ``"padded"``: a sampler with an order of its own repeats some rows to give
    each rank as many. ``"unknown"``: nothing says that ranks read different rows.
    """
    sampler = sampler_of(loader)
    # a hard example drawn twice is to count twice
    if _strided(sampler) or _tells(sampler):
        return "masked"
    if isinstance(sampler, DistributedSampler):
        rows = length(sampler.dataset)
        return "masked" if rows is None or sampler.total_size <= rows else "padded"
    return "unknown"


def sampler_of(loader: Any) -> Any:
    """What draws positions for a loader, or None."""
    inner = attribute(attribute(loader, "batch_sampler"), "sampler")
    return inner if inner is not None else attribute(loader, "sampler")


def _tells(sampler: Any) -> bool:
    """Whether a sampler holds the ``positions`` that it drew, as one that draws some more than once."""
    return isinstance(attribute(sampler, "positions"), list)


def _strided(sampler: Any) -> bool:
    # Lightning's DistributedSamplerWrapper strides over the wrapped sampler's own list; another subclass
    # with an order of its own is not known to pad at the end
    if not isinstance(sampler, DistributedSampler):
        return False
    plain = type(sampler).__iter__ is DistributedSampler.__iter__
    return plain or type(sampler).__name__ == "DistributedSamplerWrapper"
