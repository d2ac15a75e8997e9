"""How long models take for a batch, side by side."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from lightning_posttrain.export.outputs import Runner
from lightning_posttrain.export.signature import Array

SIZES = (1, 64)
WARM_UP = 10
"""Calls before the first that counts, where time allows."""
ENOUGH = 50
"""Calls from which on a 95th percentile is given."""
_WARM_SHARE = 0.25


@final
@dataclass(frozen=True)
class Latency:
    """Seconds of one call with a batch.

    Args:
        median: of all calls.
        p95: the 95th percentile; NaN below 50 calls.
        calls: how many.
        threads: that a call may use.
    """

    median: float
    p95: float
    calls: int
    threads: int

    @classmethod
    def of(cls, seconds: Sequence[float], threads: int) -> Latency:
        """The figures of the seconds of each call, at least one."""
        high = float(np.percentile(seconds, 95)) if len(seconds) >= ENOUGH else math.nan
        return cls(statistics.median(seconds), high, len(seconds), threads)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**vars(self), "p95": self.p95 if math.isfinite(self.p95) else None}

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> Latency:
        """What ``to_dict`` gave."""
        return cls(**{**saved, "p95": math.nan if saved["p95"] is None else saved["p95"]})


def latencies(
    runners: Mapping[str, Runner], rows: Mapping[str, Array], *, threads: int, sizes: Sequence[int] = SIZES,
    calls: int = 200, seconds: float = 2.0, clock: Callable[[], float] = time.perf_counter,
) -> dict[str, dict[int, Latency]]:  # fmt: skip
    """Time models in turn, call by call, so that what else the machine does meets all alike.

    Each call has other rows of those given, as zeros or one row again and again would be faster. The first calls, up to
    10 of each model and a quarter of the time, do not count.

    Args:
        runners: by name.
        rows: by input, at least one; they are repeated where a batch is larger.
        threads: that each runner was given, to be stated.
        sizes: of batches.
        calls: of each model and size, at most.
        seconds: for one size, all models together; each is called once whatever it takes.
        clock: seconds.

    Returns:
        By name and batch size.
    """
    found: dict[str, dict[int, Latency]] = {name: {} for name in runners}
    for size in sizes:
        batches = _rotating(rows, size)
        _timed(runners, batches, calls=min(WARM_UP, calls), seconds=_WARM_SHARE * seconds, clock=clock)
        timed = _timed(runners, batches, calls=calls, seconds=(1 - _WARM_SHARE) * seconds, clock=clock)
        for name, times in timed.items():
            found[name][size] = Latency.of(times, threads)
    return found


def _rotating(rows: Mapping[str, Array], size: int) -> Iterator[dict[str, Array]]:
    number, start = len(next(iter(rows.values()))), 0
    while True:
        index = (start + np.arange(size)) % number
        yield {name: array[index] for name, array in rows.items()}
        start = (start + size) % number


def _timed(
    runners: Mapping[str, Runner], batches: Iterator[dict[str, Array]], *, calls: int, seconds: float,
    clock: Callable[[], float],
) -> dict[str, list[float]]:  # fmt: skip
    """Seconds of each call; all models get the same batches."""
    times: dict[str, list[float]] = {name: [] for name in runners}
    end = clock() + seconds
    for _ in range(calls):
        batch = next(batches)
        for name, runner in runners.items():
            start = clock()
            runner(batch)
            times[name].append(clock() - start)
        if clock() >= end:
            break
    return times
