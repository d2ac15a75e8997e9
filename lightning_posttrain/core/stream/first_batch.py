"""What is looked at once a run, on the first batch of a loader, before any figure is believed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from lightning.pytorch import Trainer
from torch import Tensor

from lightning_posttrain.core.capture.loaders import stage_of
from lightning_posttrain.core.capture.own_figures import of_first_batch
from lightning_posttrain.core.stream.evaluation import Member
from lightning_posttrain.core.stream.reading import Batch, Given, Reading


class Read(NamedTuple):
    """A batch as it was read, what was found for it, and what that is for."""

    batch: Batch
    found: Tensor
    given: Given


def first_batch(
    trainer: Trainer,
    key: str,
    reading: Reading,
    readers: list[Member],
    read: Read,
    *,
    loader: int,
    before: dict[Any, Any],
    say: Callable[[str], None],
) -> bool:
    """See that a batch contradicts neither what was said, nor the module's own figures, nor another stage.

    Args:
        trainer: of the run.
        key: of the loader, as ``"val"``.
        reading: that was read by.
        readers: whose reading it is.
        read: the batch.
        loader: its number.
        before: what other stages saw, by reading and loader.
        say: warns once.

    Returns:
        whether all is as it must be; else there is nothing to report of the epoch for some, and the next is looked at.

    Raises:
        ValueError: it does; where the module's own figures differ, in the sanity check, of what was a guess.
    """
    reading.check(read.batch, read.found, read.given)
    passed = [_passes(trainer, member, read.batch) for member in readers]
    stage, likeness = stage_of(trainer), reading.likeness(read.batch)
    other, alike = before.setdefault((reading, loader), (stage, likeness))
    why = reading.unlike(key, alike, likeness, other) if alike != likeness else ""
    if other != stage and why:
        raise ValueError(why)
    if stage != "train":
        against = reading.against(read.batch, read.given, of_first_batch(trainer, loader))
        for text in against.said:
            if trainer.sanity_checking and against.guessed:
                raise ValueError(f"{key}: {text}")
            say(f"{key}: {text}")
    return all(passed)


def _passes(trainer: Trainer, member: Member, batch: Batch) -> bool:
    def check() -> bool:
        member.check(trainer.lightning_module, batch)
        return True

    return bool(member.attempt(trainer, "check a batch", check, configures=True))
