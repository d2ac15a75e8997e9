"""Folds batches into metrics: small ones are gathered first, so that each costs a copy and little else."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from lightning_posttrain.classification.batch import PASS, EvalBatch
from lightning_posttrain.classification.metric.base import EvaluationMetric
from lightning_posttrain.classification.rows import BASIC, RowFacts, columns, measure

STAGE = 1 << 17
"""Scores that are gathered before they are looked at; half a megabyte stays in a processor's cache."""
RING = 1 << 13
"""Rows whose facts are gathered before they are counted."""


class Accumulator:
    """Gathers batches, looks at their scores in one pass, and counts the facts of many rows at a time.

    Nothing here waits for the device. Call ``flush`` before the metrics are read.

    Args:
        metrics: what to fold into; on one device.
        num_classes: number of columns of the scores.
        multilabel: whether each row has any number of labels.
    """

    def __init__(self, metrics: Iterable[EvaluationMetric], num_classes: int, *, multilabel: bool = False) -> None:
        self.metrics = tuple(metrics)
        self.num_classes = num_classes
        self.multilabel = multilabel
        self._wanted = BASIC.union(*(metric.reads for metric in self.metrics))
        self._room = STAGE // num_classes
        self._longest = max(PASS // num_classes, 1)
        self._scores: Tensor | None = None
        self._target: Tensor | None = None
        self._staged = 0
        self._ring: dict[str, Tensor] = {}
        self._kept = 0

    @torch.no_grad()
    def add(self, batch: EvalBatch) -> None:
        """Take a batch."""
        scores, target = batch.scores, batch.marked
        if 2 * len(scores) > self._room:
            self._add_large(batch)
            return
        if self._scores is None or self._target is None or self._scores.dtype != scores.dtype:
            self._drain()
            with torch.inference_mode(False):  # what is made in inference mode could not be changed outside it
                self._scores = scores.new_empty(self._room, self.num_classes)
                self._target = target.new_empty(self._room, *target.shape[1:])
        if self._staged + len(scores) > self._room:
            self._drain()
        place = slice(self._staged, self._staged + len(scores))
        self._scores[place].copy_(scores)
        self._target[place].copy_(target)
        self._staged += len(scores)

    @torch.no_grad()
    def flush(self) -> None:
        """Bring all that was gathered into the metrics."""
        self._drain()
        self._count()

    def _add_large(self, batch: EvalBatch) -> None:
        """Take a batch that need not be gathered; one of many rows need not wait to be counted either."""
        if self.multilabel or 2 * len(batch.scores) > RING:
            for scores, rows in batch.passes(self._wanted):
                self._add_scores(scores, rows)
                self._add_rows(rows)
            return
        for first in range(0, len(batch.scores), self._longest):
            place = slice(first, first + self._longest)
            self._look(batch.scores[place], batch.marked[place])

    def _drain(self) -> None:
        staged, self._staged = self._staged, 0
        if staged and self._scores is not None and self._target is not None:
            self._look(self._scores[:staged], self._target[:staged])

    def _look(self, scores: Tensor, target: Tensor) -> None:
        if self.multilabel or 2 * len(scores) > RING:
            rows = EvalBatch(scores, target).rows(self._wanted)
            self._add_scores(scores, rows)
            self._add_rows(rows)
            return
        other = bool(self._ring) and self._ring["top"].dtype != scores.dtype
        if self._kept + len(scores) > RING or other:
            self._count()
        if not self._ring or other:
            with torch.inference_mode(False):
                self._ring = columns(RING, self._wanted, scores)
        place = slice(self._kept, self._kept + len(scores))
        facts = {name: column[place] for name, column in self._ring.items()}
        rows = measure(scores, target, facts)
        self._kept += len(scores)
        self._add_scores(scores, rows)

    def _count(self) -> None:
        kept, self._kept = self._kept, 0
        if kept:
            self._add_rows(RowFacts(self.num_classes, {name: column[:kept] for name, column in self._ring.items()}))

    def _add_scores(self, scores: Tensor, rows: RowFacts) -> None:
        for metric in self.metrics:
            metric.add_scores(scores, rows)

    def _add_rows(self, rows: RowFacts) -> None:
        for metric in self.metrics:
            metric.add_rows(rows)
