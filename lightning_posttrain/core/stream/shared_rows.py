"""Doubts about how ranks share the rows of a loader."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from struct import pack, unpack

from lightning.pytorch import Trainer
from torch import Tensor

from lightning_posttrain.core.capture.loaders import named_loaders, sharding, stage_of
from lightning_posttrain.core.stream.epoch import Place
from lightning_posttrain.core.stream.reading import Part


def mark_of_rows(part: Part | None) -> int:
    """A whole number that is equal on two ranks if these read the same rows; 0 for none."""
    mark: int = unpack("<q", pack("<d", 0.0 if part is None else float(part.seen)))[0]
    return mark


def shared_rows(trainer: Trainer, marks: Mapping[Place, Tensor]) -> Iterator[str]:
    """A sentence for each loader of which ranks read the same rows, or may have read some twice.

    Args:
        trainer: of the run.
        marks: ``mark_of_rows`` of each rank ``(R,)``.
    """
    loaders = named_loaders(trainer)
    for (i, _), mark in marks.items():
        key, known = stage_of(trainer) + loaders[i].suffix, sharding(loaders[i].loader)
        if known == "unknown" and mark[0] and bool((mark == mark[0]).all()):
            yield (
                f"lightning_posttrain: all ranks read the same rows of {key}, each of which counts "
                f"{trainer.world_size} times. Leave use_distributed_sampler=True, or let the dataset give each rank "
                "its own share."
            )
        elif known == "padded":
            yield (
                f"lightning_posttrain: the sampler of {key} repeats some rows to give each rank as many, in an order "
                "of its own, so that they count twice. Use torch's DistributedSampler, or a dataset length that the "
                "number of ranks divides."
            )
