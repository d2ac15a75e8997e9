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

from lightning_posttrain.core.stream.exchange import Exchange, Told, joined, states_of
from lightning_posttrain.core.stream.metric import StreamMetric
from lightning_posttrain.core.stream.packing import packed, unpacked

Found = TypeVar("Found")
LONGEST = 6 * 3600
"""Seconds that ranks wait for what the first one alone works out, before they ask for it in a collective."""
_meetings = itertools.count()


def over_ranks(trainer: Trainer, exchange: Exchange[Found]) -> Found:
    """What an exchange ends with, played with all ranks."""
    answer: Any = None
    while True:
        try:
            sent = exchange.send(answer)
        except StopIteration as end:
            return cast("Found", end.value)
        answer = told_by_each(trainer, sent.numbers) if isinstance(sent, Told) else _sum(trainer, sent.numbers)


def told_by_each(trainer: Trainer, mine: Tensor) -> Tensor:
    """A few whole numbers ``(K,)`` of each rank ``(R, K)``, on the CPU."""
    if trainer.world_size == 1:
        return mine.cpu()[None]
    numbers = mine.to(trainer.strategy.root_device)
    every = [torch.empty_like(numbers) for _ in range(trainer.world_size)]
    dist.all_gather(every, numbers)
    return torch.stack(every).cpu()


def _sum(trainer: Trainer, mine: Tensor) -> Tensor:
    if trainer.world_size == 1:
        return mine
    numbers = mine.to(trainer.strategy.root_device)
    dist.all_reduce(numbers)
    return numbers.to(mine.device)


def told_by_all(trainer: Trainer, mine: Found) -> list[Found]:
    """What each rank tells, in plain values or a few numbers, in the order of ranks.

    A rank receives as many times the longest as there are ranks.
    """
    every: list[Any] = [mine] * trainer.world_size
    if trainer.world_size > 1:
        dist.all_gather_object(every, mine)
    return every


def put_together(trainer: Trainer, parts: Sequence[Tensor]) -> list[Tensor]:
    """Tensors of which each row is zero on all ranks but one, with that, on the CPU, in one message."""
    words = _sum(trainer, packed(parts))
    return unpacked(words.cpu(), [(part.shape, part.dtype) for part in parts])


def largest(trainer: Trainer, mine: Tensor) -> Tensor:
    """For each place the largest number of all ranks."""
    if trainer.world_size > 1:
        mine = mine.to(trainer.strategy.root_device)
        dist.all_reduce(mine, dist.ReduceOp.MAX)
    return mine


def any_rank(trainer: Trainer, mine: Sequence[bool]) -> list[bool]:
    """For each place whether it is so on any rank."""
    if trainer.world_size == 1 or not mine:
        return list(mine)
    return [found > 0 for found in summed(trainer, mine)]


def as_first(trainer: Trainer, mine: Sequence[bool]) -> list[bool]:
    """For each place whether it is so on the first rank."""
    return any_rank(trainer, [flag and trainer.is_global_zero for flag in mine])


def summed(trainer: Trainer, mine: Sequence[int]) -> list[int]:
    """For each place the sum over ranks."""
    if trainer.world_size == 1:
        return list(mine)
    return [int(number) for number in _sum(trainer, torch.tensor(mine, dtype=torch.int64)).tolist()]


def sum_over_ranks(trainer: Trainer, metrics: Sequence[StreamMetric]) -> None:
    """Sum every state of every metric over ranks, all in one message where none grows."""
    if trainer.world_size > 1:
        over_ranks(trainer, joined(states_of(metrics), trainer.global_rank))


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
