"""What ranks tell each other at the end of an epoch; every rank calls these, in the same order."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from lightning.pytorch import Trainer
from torch import Tensor

from lightning_posttrain.core.stream.metric import StreamMetric

Found = TypeVar("Found")
LONGEST = 6 * 3600
"""Seconds that ranks wait for what the first one alone works out, before they ask for it in a collective."""
_meetings = itertools.count()


def agreed(trainer: Trainer, mine: Sequence[int]) -> list[tuple[int, int]]:
    """For each place the smallest and the largest number that ranks saw there; 0 and 0 where none saw a batch.

    Args:
        trainer: its strategy does the reduction.
        mine: what this rank saw, 0 where nothing.
    """
    if trainer.world_size == 1:
        return [(number, number) for number in mine]
    # the largest of the negated numbers is the smallest; a rank that saw nothing must not be it
    bounds = torch.tensor([mine, [-n if n else -(2**31) for n in mine]], device=trainer.strategy.root_device)
    largest, smallest = trainer.strategy.reduce(bounds, reduce_op="max").tolist()
    return [(-least if most else 0, most) for most, least in zip(largest, smallest, strict=True)]


def any_rank(trainer: Trainer, mine: Sequence[bool]) -> list[bool]:
    """For each place whether it is so on any rank."""
    if trainer.world_size == 1 or not mine:
        return list(mine)
    flags = torch.tensor(mine, dtype=torch.int64, device=trainer.strategy.root_device)
    return [bool(flag) for flag in trainer.strategy.reduce(flags, reduce_op="max").tolist()]


def as_first(trainer: Trainer, mine: Sequence[bool]) -> list[bool]:
    """For each place whether it is so on the first rank."""
    return any_rank(trainer, [flag and trainer.is_global_zero for flag in mine])


def summed(trainer: Trainer, mine: Sequence[int]) -> list[int]:
    """For each place the sum over ranks."""
    if trainer.world_size == 1:
        return list(mine)
    numbers = torch.tensor(mine, dtype=torch.int64, device=trainer.strategy.root_device)
    return [int(number) for number in trainer.strategy.reduce(numbers, reduce_op="sum").tolist()]


def same_on_all(trainer: Trainer, mine: Sequence[float]) -> list[bool]:
    """For each place whether all ranks have the same number there, and not 0."""
    bounds = torch.tensor([mine, [-value for value in mine]], device=trainer.strategy.root_device)
    largest, smallest = trainer.strategy.reduce(bounds, reduce_op="max").tolist()
    return [bool(most) and most == -least for most, least in zip(largest, smallest, strict=True)]


def sum_over_ranks(trainer: Trainer, metrics: Sequence[StreamMetric]) -> None:
    """Sum every state of every metric over ranks, all states of a dtype in one collective."""
    if trainer.world_size == 1:
        return
    states = [(metric, name, state) for metric in metrics for name, state in metric.states().items()]
    fixed = [entry for entry in states if entry[1] not in entry[0].growing]
    for dtype in dict.fromkeys(state.dtype for *_, state in fixed):
        chosen = [entry for entry in fixed if entry[2].dtype == dtype]
        flat = torch.cat([state.reshape(-1) for *_, state in chosen])
        pieces = trainer.strategy.reduce(flat, reduce_op="sum").split([state.numel() for *_, state in chosen])
        for (metric, name, state), piece in zip(chosen, pieces, strict=True):
            setattr(metric, name, piece.view_as(state))
    for metric, name, state in states:
        if name in metric.growing:
            setattr(metric, name, [_gathered(trainer, state)])


def _gathered(trainer: Trainer, state: Tensor) -> Tensor:
    """The rows of all ranks; ranks with fewer give rows of zeros, which count nothing.

    A rank that has none does not know of what width the others' numbers are: the widest is taken.
    """
    mine = torch.tensor([len(state), state.element_size()], device=trainer.strategy.root_device)
    most, width = trainer.strategy.reduce(mine, reduce_op="max").tolist()
    same = state if state.element_size() == width else state.double()
    padded = torch.nn.functional.pad(same, (0, 0, 0, most - len(state)))
    return torch.cat(list(trainer.strategy.all_gather(padded)))


def of_first_rank(trainer: Trainer, found: Found | None) -> Found | None:
    """What the first rank has found; all ranks together.

    The others wait outside of any collective, so that the time-out of the process group, which is for ranks that are
    lost, does not end a run in which the first one is busy; for ``LONGEST`` at most.
    """
    if trainer.world_size == 1:
        return found
    _meet(first=trainer.is_global_zero)
    shared: Found | None = trainer.strategy.broadcast(found, 0)
    return shared


def worked_out_first(trainer: Trainer, call: Callable[[], Found]) -> Found:
    """What a call gives on the first rank, which alone makes it; all ranks together.

    Raises:
        Exception: what it raises there; on the others a ``ValueError`` or ``RuntimeError`` in the same words.
    """
    if trainer.world_size == 1:
        return call()
    found: Found | None = None
    problem: Exception | None = None
    if trainer.is_global_zero:
        try:
            found = call()
        except Exception as error:  # the others wait for it
            problem = error
    said = None if problem is None else (isinstance(problem, ValueError), f"{type(problem).__name__}: {problem}")
    shared, said = cast("tuple[Found, Any]", of_first_rank(trainer, (found, said)))
    if problem is not None:
        raise problem
    if said is not None:
        raise (ValueError if said[0] else RuntimeError)(f"on the first rank: {said[1]}")
    return shared


def on_each_rank(trainer: Trainer, call: Callable[[], Found]) -> Found:
    """What a call without collectives gives on this rank; where one fails on any, all raise; all ranks together.

    Raises:
        Exception: what it raises here; a ``RuntimeError`` where it raised on another rank alone.
    """
    problem, found = None, None
    try:
        found = call()
    except Exception as error:  # the others wait in a collective
        problem = error
    (failed,) = any_rank(trainer, [problem is not None])
    if problem is not None:
        raise problem
    if failed:
        raise RuntimeError("it failed on another rank, which says why.")
    return cast("Found", found)


def _meet(*, first: bool) -> None:
    """Wait until the first rank is here too, if ranks have a store to tell it by."""
    if not dist.is_initialized():
        return
    store = dist.distributed_c10d._get_default_store()
    key = f"lightning_posttrain/{next(_meetings)}"
    if first:
        store.set(key, "here")
        return
    pause, end = 0.001, time.monotonic() + LONGEST
    while not store.check([key]) and time.monotonic() < end:
        time.sleep(pause)
        pause = min(1.5 * pause, 0.5)
