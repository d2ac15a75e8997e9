"""Forwards of a model that are counted and timed."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from torch import Tensor

from lightning_posttrain.attribution import Chunks
from lightning_posttrain.samples.progress_bar import Progress

TIMED = 64
"""Rows for which a forward is timed."""
SHARE = 0.9
"""Of the time that is left, planned for: the speed of one forward is not that of all."""


class CountedForward:
    """A scorer that counts the rows that it is asked for, and tells a bar."""

    def __init__(self, scorer: Callable[[Tensor], Tensor], bar: Progress) -> None:
        self.rows = 0
        self._scorer, self._bar = scorer, bar

    def __call__(self, rows: Tensor) -> Tensor:
        """Scores of rows, on the CPU."""
        found = self._scorer(rows).cpu()
        self.rows += len(rows)
        self._bar(len(rows))
        return found


def rows_in_time(forward: Callable[[Tensor], Tensor], x: Tensor, chunks: Chunks) -> float:
    """How many rows the model can be asked for in the time that is left; it is asked for some once or twice."""
    if chunks.left <= 0 or math.isinf(chunks.left):
        return max(0.0, chunks.left)
    spent, few = math.inf, x[: min(TIMED, chunks.size)]
    for _ in range(2):  # the first forward may be slower
        start = time.monotonic()
        forward(few.clone())
        spent = min(spent, max(time.monotonic() - start, 1e-9))
        if spent > SHARE / 10 * chunks.left:
            break
    return SHARE * max(0.0, chunks.left) * len(few) / spent
