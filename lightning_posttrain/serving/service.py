"""What answers requests: the model, the rows that wait for it, and what is known of both."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, final

import numpy as np

from lightning_posttrain import __version__
from lightning_posttrain.serving.answering import Answering, Row, Watch
from lightning_posttrain.serving.answers import answer, classes_of
from lightning_posttrain.serving.batching import Batcher
from lightning_posttrain.serving.body import Question, is_slow, question
from lightning_posttrain.serving.image import pictures
from lightning_posttrain.serving.limits import Limits
from lightning_posttrain.serving.metrics import Metrics
from lightning_posttrain.serving.running import Failure, Outcome
from lightning_posttrain.serving.work_thread import WorkThread

_logger = logging.getLogger(__name__)
FREE_LENGTH = 32
"""Of a dimension whose length is free, while the model is warmed up."""


@final
class Service:
    """Answers bodies; knows nothing of routes.

    Args:
        predictor: the model.
        limits: of a request and of the queue.
        watch: over the answers, or None.
    """

    def __init__(self, predictor: Answering, limits: Limits, watch: Watch | None = None) -> None:
        self.manifest, self.limits, self.watch = predictor.manifest, limits, watch
        self.metrics = Metrics()
        self.batcher = Batcher(predictor.run, limits, self._batch)
        self.warm = self.draining = False
        self._reading = WorkThread("reading")

    @property
    def ready(self) -> bool:
        """Whether requests should be sent; those that come are answered in any case."""
        return self.warm and not self.draining

    async def answer(self, body: bytes, gone: Callable[[], bool]) -> tuple[int, dict[str, Any]]:
        """Status and content of the response.

        Args:
            body: of the request.
            gone: whether its client is.

        Raises:
            RefusedError: nothing in it can be answered.
        """
        asked = await self._question(body)
        good = [row for row in asked.rows if not isinstance(row, str)]
        found = iter(await self.batcher.answers(good, gone) if good else [])
        said = [{"error": row} if isinstance(row, str) else self._plain(next(found)) for row in asked.rows]
        status = 200 if any("error" not in one for one in said) else 500 if good else 422
        return status, said[0] if asked.single else {"answers": said}

    async def _question(self, body: bytes) -> Question:
        if is_slow(body):
            return await self._reading.run(lambda: question(body, self.manifest, most_rows=self.limits.rows))
        return question(body, self.manifest, most_rows=self.limits.rows)

    def _plain(self, outcome: Outcome) -> dict[str, Any]:
        if isinstance(outcome, Failure):
            return {"error": outcome.reason}
        said = answer(self.manifest.decision, *outcome)
        self.metrics.classes.update(classes_of(said))
        return said

    def _batch(self, found: Sequence[Outcome]) -> None:
        """Take note of a batch that was run."""
        self.metrics.batch_rows.add(len(found))
        good = [outcome for outcome in found if not isinstance(outcome, Failure)]
        self.metrics.failed_rows += len(found) - len(good)
        if self.watch is not None and good:
            try:
                self.watch.add(np.stack([p for p, _ in good]), np.stack([d for _, d in good]))
            except Exception:  # a diagnostic costs no answer
                _logger.exception("The drift watch failed and is left out from here on")
                self.watch = None

    async def warm_up(self) -> None:
        """Run batches of zeros of 1, 2, 4 … rows, and be ready then.

        Raises:
            Exception: what the model raises.
        """
        inputs = self.manifest.signature.inputs
        row: Row = {s.name: np.zeros([FREE_LENGTH if n is None else n for n in s.shape[1:]], s.dtype) for s in inputs}
        sizes = 2 ** np.arange(math.log2(self.limits.batch_rows) + 1, dtype=int)
        try:
            await self.batcher.warm_up([[row] * int(size) for size in sizes])
        except Exception as error:
            if not any(n is None for s in inputs for n in s.shape[1:]):
                raise
            _logger.warning("Not warmed up: the model takes no length of %d: %s", FREE_LENGTH, error)
        self.warm = True

    def info(self) -> dict[str, Any]:
        """What is served, in plain values that JSON takes."""
        taken = pictures(self.manifest)
        return {
            "model": json.loads(self.manifest.to_json()),
            "server": {
                "version": __version__,
                "ready": self.ready,
                "limits": vars(self.limits),
                "pictures": f"none: {taken}" if isinstance(taken, str) else taken.words,
                "answers": self.metrics.answered,
            },
            "drift": self._drift(),
        }

    def _drift(self) -> dict[str, Any] | None:
        if self.watch is None:
            return None
        return {"words": self.watch.words(), "figures": {k: _for_json(v) for k, v in self.watch.figures().items()}}

    def metrics_text(self) -> str:
        """What ``/metrics`` says."""
        drift: Mapping[str, float] | None = None if self.watch is None else self.watch.figures()
        build = {"version": __version__, "model": self.manifest.name, "created": self.manifest.created}
        return self.metrics.text(waiting_rows=self.batcher.waiting_rows, ready=self.ready, build=build, drift=drift)


def _for_json(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
