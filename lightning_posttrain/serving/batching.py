"""Rows of many requests, answered together: what waits is taken, and nothing waits for more to come."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import final

from lightning_posttrain.serving.answering import Row
from lightning_posttrain.serving.limits import Limits
from lightning_posttrain.serving.refusal import ClientGoneError, RefusedError
from lightning_posttrain.serving.running import Outcome, Run, outcomes, together
from lightning_posttrain.serving.work_thread import WorkThread

LOOK_AFTER = 0.05
"""Seconds that rows wait before their client is looked after: a look costs more than so short a batch."""
Shapes = tuple[tuple[int, ...], ...]


@final
class _Asked:
    """Rows of one request, and what is known of them."""

    def __init__(self, rows: Sequence[Row], gone: Callable[[], bool]) -> None:
        self.answers: list[Outcome | None] = [None] * len(rows)
        self.left = len(rows)
        self.bytes = sum(array.nbytes for row in rows for array in row.values())
        self.future: asyncio.Future[list[Outcome]] = asyncio.get_running_loop().create_future()
        self._since, self._gone = time.monotonic(), gone

    def wanted(self) -> bool:
        """Whether someone still waits for the answers."""
        if not self.future.done() and time.monotonic() - self._since > LOOK_AFTER and self._gone():
            self.future.set_exception(ClientGoneError())
        return not self.future.done()

    def answer(self, index: int, outcome: Outcome) -> None:
        """Of one row; the last gives all of them to who waits."""
        self.answers[index] = outcome
        self.left -= 1
        if self.left == 0 and not self.future.done():
            self.future.set_result([answer for answer in self.answers if answer is not None])


_Waiting = tuple[_Asked, int, Row]


@final
class Batcher:
    """Answers rows that wait together in one run of the model, in a thread of its own.

    Rows are run together where all their shapes are equal; groups of different shapes take turns. While the model runs,
    rows wait, and these are the next batch: at low load a batch is one row, at high load it grows by itself.

    Args:
        run: the model, for a batch.
        limits: of rows that wait, and of a batch.
        told: is called with the outcomes of each batch.
    """

    def __init__(self, run: Run, limits: Limits, told: Callable[[Sequence[Outcome]], None]) -> None:
        self._run, self._limits, self._told = run, limits, told
        self._groups: dict[Shapes, deque[_Waiting]] = {}
        self._thread = WorkThread("model")
        self._busy = False
        self.waiting_rows = 0
        self.waiting_bytes = 0

    async def answers(self, rows: Sequence[Row], gone: Callable[[], bool]) -> list[Outcome]:
        """Of each row its answer, in order.

        Args:
            rows: as the model takes them.
            gone: whether nobody waits for the answers any more; rows that wait long are left out then.

        Raises:
            RefusedError: too many rows wait.
            ClientGoneError: nobody waits for the answers.
        """
        asked = _Asked(rows, gone)
        self._check_room(len(rows), asked.bytes)
        self.waiting_rows += len(rows)
        self.waiting_bytes += asked.bytes
        for index, row in enumerate(rows):
            shapes = tuple([array.shape for array in row.values()])
            self._groups.setdefault(shapes, deque()).append((asked, index, row))
        self._begin_soon()
        try:
            return await asked.future
        finally:
            self.waiting_bytes -= asked.bytes

    def _check_room(self, rows: int, size: int) -> None:
        if self.waiting_rows + rows > self._limits.waiting_rows:
            self._forget_the_gone()
        full = self.waiting_rows + rows > self._limits.waiting_rows
        if full or self.waiting_bytes + size > self._limits.waiting_bytes:
            reason = f"{self.waiting_rows} rows wait, and {rows} more are too many. Send them again later."
            raise RefusedError(503, reason, retry=1)

    def _forget_the_gone(self) -> None:
        for group in self._groups.values():
            kept = [waiting for waiting in group if not waiting[0].future.done()]
            self.waiting_rows -= len(group) - len(kept)
            group.clear()
            group.extend(kept)

    def _begin_soon(self) -> None:
        """After the other requests that have come at the same moment."""
        if not self._busy:
            self._busy = True
            asyncio.get_running_loop().call_soon(self._begin)

    def _begin(self) -> None:
        batch = self._next()
        self._busy = bool(batch)
        if batch:
            running = self._thread.run(partial(outcomes, self._run, [row for _, _, row in batch]))
            running.add_done_callback(partial(self._deliver, batch))

    def _next(self) -> list[_Waiting]:
        """The rows of the group whose turn it is."""
        batch: list[_Waiting] = []
        while self._groups and not batch:
            shapes = next(iter(self._groups))
            group = self._groups.pop(shapes)
            while group and len(batch) < self._limits.batch_rows:
                waiting = group.popleft()
                self.waiting_rows -= 1
                if waiting[0].wanted():
                    batch.append(waiting)
            if group:
                self._groups[shapes] = group
        return batch

    def _deliver(self, batch: Sequence[_Waiting], running: asyncio.Future[list[Outcome]]) -> None:
        self._begin()
        found = running.result()
        for (asked, index, _), outcome in zip(batch, found, strict=True):
            asked.answer(index, outcome)
        self._told(found)

    async def warm_up(self, batches: Sequence[Sequence[Row]]) -> None:
        """Run batches for nothing, so that no client waits for what a model does only once.

        Raises:
            Exception: what the model raises.
        """
        for rows in batches:
            await self._thread.run(partial(together, self._run, rows))
