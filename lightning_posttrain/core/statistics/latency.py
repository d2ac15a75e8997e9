"""How long models take for a batch, side by side."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, TypeVar, final

import numpy as np
from numpy.typing import NDArray

Batch = TypeVar("Batch")
SIZES = (1, 64)
WARM_UP = 10
"""Calls before the first that counts, where time allows."""
ENOUGH = {95: 100, 99: 1000}
"""Calls from which on a percentile is given: below, it would move by a tenth and more from one run to the next."""
_WARM_SHARE = 0.25


class Times(NamedTuple):
    """Of one call.

    Args:
        seconds: by the clock of the device, or of the host where the device has none.
        host: seconds of the host from the call to its result, where ``seconds`` are the device's; NaN elsewhere.
    """

    seconds: float
    host: float = math.nan


Timer = Callable[[Callable[[], Any]], Times]
"""Runs a call and tells how long it took."""


@final
@dataclass(frozen=True)
class Latency:
    """Seconds of one call with a batch.

    Args:
        median: of all calls.
        p95: the 95th percentile; NaN below 100 calls.
        calls: how many.
        threads: that a call may use.
        p99: the 99th percentile; NaN below 1,000 calls.
        host: the median of the host's seconds, where the others are by the clock of a device; NaN elsewhere.
    """

    median: float
    p95: float
    calls: int
    threads: int
    p99: float = math.nan
    host: float = math.nan

    @classmethod
    def of(cls, seconds: Sequence[float], threads: int, host: float = math.nan) -> Latency:
        """The figures of the seconds of each call, at least one."""
        p95, p99 = (_percentile(seconds, percent) for percent in ENOUGH)
        return cls(statistics.median(seconds), p95, len(seconds), threads, p99, host)

    def to_dict(self) -> dict[str, Any]:
        """For JSON; figures that are not defined are None."""
        return {name: None if value != value else value for name, value in vars(self).items()}  # noqa: PLR0124

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> Latency:
        """What ``to_dict`` gave; a figure that a record does not have is not defined."""
        known: dict[str, Any] = {name: math.nan if value is None else value for name, value in saved.items()}
        return cls(**known)


def _percentile(seconds: Sequence[float], percent: int) -> float:
    return float(np.percentile(seconds, percent)) if len(seconds) >= ENOUGH[percent] else math.nan


def host_timer(clock: Callable[[], float] = time.perf_counter, synchronize: Callable[[], Any] | None = None) -> Timer:
    """Times a call by the host's clock.

    Args:
        clock: seconds.
        synchronize: waits for a device that works on its own, before the call and for its result.
    """
    wait = synchronize or (lambda: None)

    def timed(call: Callable[[], Any]) -> Times:
        wait()
        start = clock()
        call()
        wait()
        return Times(clock() - start)

    return timed


def rotating(number: int, size: int) -> Iterator[NDArray[np.int64]]:
    """Positions of the rows of one batch after the other: each has others of the rows, which come again in turn.

    Zeros, or one batch again and again, would be faster than what a model gets in use.

    Args:
        number: of rows, at least one; they are repeated where a batch is larger.
        size: of a batch.

    Example:
        >>> batches = rotating(3, 2)
        >>> [next(batches).tolist() for _ in range(3)]
        [[0, 1], [2, 0], [1, 2]]
    """
    start = 0
    while True:
        yield (start + np.arange(size)) % number
        start = (start + size) % number


def latencies(
    models: Mapping[str, Callable[[Batch], Any]], batches: Callable[[int], Iterator[Batch]], *, threads: int,
    sizes: Sequence[int] = SIZES, calls: int = 200, seconds: float = 2.0, timer: Timer | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, dict[int, Latency]]:  # fmt: skip
    """Time models in turn, call by call, so that what else the machine does meets all alike.

    The first calls, up to 10 of each model and a quarter of the time, do not count.

    Args:
        models: by name; each takes a batch.
        batches: from the size of a batch to batches without end, as ``rotating`` tells to choose them.
        threads: that each model was given, to be stated.
        sizes: of batches.
        calls: of each model and size, at most.
        seconds: for one size, all models together; each is called once whatever it takes.
        timer: of a call; default: by the host's clock.
        clock: seconds, for the limit.

    Returns:
        By name and batch size.
    """
    found: dict[str, dict[int, Latency]] = {name: {} for name in models}
    timer = timer or host_timer(clock)
    for size in sizes:
        given = batches(size)
        _timed(models, given, timer, calls=min(WARM_UP, calls), end=clock() + _WARM_SHARE * seconds, clock=clock)
        end = clock() + (1 - _WARM_SHARE) * seconds
        for name, times in _timed(models, given, timer, calls=calls, end=end, clock=clock).items():
            host = statistics.median(one.host for one in times)
            found[name][size] = Latency.of([one.seconds for one in times], threads, host)
    return found


def _timed(
    models: Mapping[str, Callable[[Batch], Any]], batches: Iterator[Batch], timer: Timer, *, calls: int, end: float,
    clock: Callable[[], float],
) -> dict[str, list[Times]]:  # fmt: skip
    """Times of each call; all models get the same batches."""
    times: dict[str, list[Times]] = {name: [] for name in models}
    for _ in range(calls):
        batch = next(batches)
        for name, model in models.items():
            times[name].append(timer(partial(model, batch)))
        if clock() >= end:
            break
    return times
