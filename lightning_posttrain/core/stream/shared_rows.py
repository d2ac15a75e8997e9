"""Doubts about how ranks share the rows of a loader."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from lightning.pytorch import Trainer

from lightning_posttrain.core.capture.loaders import named_loaders, sharding, stage_of
from lightning_posttrain.core.stream.epoch import Place
from lightning_posttrain.core.stream.ranks import same_on_all
from lightning_posttrain.core.stream.reading import Part


def shared_rows(trainer: Trainer, parts: Mapping[Place, Part | None]) -> Iterator[str]:
    """A sentence for each loader of which ranks read the same rows, or may have read some twice; all ranks together."""
    if trainer.world_size == 1:
        return
    loaders = named_loaders(trainer)
    kinds = [sharding(loaders[i].loader) for i, _ in parts]
    same = [False] * len(kinds)
    if "unknown" in kinds:
        same = same_on_all(trainer, [0.0 if part is None else float(part.seen) for part in parts.values()])
    for (i, _), known, equal in zip(parts, kinds, same, strict=True):
        key = stage_of(trainer) + loaders[i].suffix
        if known == "unknown" and equal:
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
