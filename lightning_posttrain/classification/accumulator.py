"""Folds batches into metrics: small ones are gathered first, so that each costs a copy and little else."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from lightning_posttrain.classification.batch import EvalBatch
from lightning_posttrain.classification.metric.base import EvaluationMetric
from lightning_posttrain.classification.rows import BASIC, RowFacts, columns, measure
from lightning_posttrain.core.stream.stage_sizes import HOST

FIRST = 16
"""Batches for which there is room at first; room is made for more as they come."""


class Accumulator:
    """Gathers batches, looks at their scores in one pass, and counts the facts of many rows at a time.

    Nothing here waits for the device. Call ``flush`` before the metrics are read. Room is made as rows come, for four
    times as many at most, up to what ``stage_sizes`` says for the device.

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
        self._gathered: tuple[Tensor, Tensor] | None = None
        self._staged = 0
        self._ring: dict[str, Tensor] = {}
        self._kept = 0

    @torch.no_grad()
    def add(self, batch: EvalBatch) -> None:
        """Take a batch."""
        scores, target = batch.scores, batch.marked
        most = batch.sizes.gathered(self.num_classes)
        if 2 * len(scores) > most:
            self._add_large(batch)
            return
        gathered = self._gathered
        end = self._staged + len(scores)
        if gathered is None or gathered[0].dtype != scores.dtype or end > len(gathered[0]):
            gathered, end = self._with_room(scores, target, most), self._staged + len(scores)
        gathered[0][self._staged : end].copy_(scores)
        gathered[1][self._staged : end].copy_(target)
        self._staged = end

    def _with_room(self, scores: Tensor, target: Tensor, most: int) -> tuple[Tensor, Tensor]:
        """Where a batch is gathered, with room for it: what is there is counted, or put into more memory."""
        gathered = self._gathered
        other = gathered is None or gathered[0].dtype != scores.dtype
        if other or self._staged + len(scores) > most:
            self._drain()
        if gathered is not None and not other and len(gathered[0]) == most:
            return gathered
        rows = min(max(FIRST * len(scores), HOST.scores // self.num_classes, 4 * self._staged), most)
        with torch.inference_mode(False):  # what is made in inference mode could not be changed outside it
            larger = scores.new_empty(rows, self.num_classes), target.new_empty(rows, *target.shape[1:])
        for new, old in zip(larger, gathered or (), strict=False):
            new[: self._staged].copy_(old[: self._staged])
        self._gathered = larger
        return larger

    @torch.no_grad()
    def flush(self) -> None:
        """Bring all that was gathered into the metrics."""
        self._drain()
        self._count()

    def _add_large(self, batch: EvalBatch) -> None:
        """Take a batch that need not be gathered; one of many rows need not wait to be counted either."""
        sizes = batch.sizes
        if self.multilabel or 2 * len(batch.scores) > sizes.rows:
            for scores, rows in batch.passes(self._wanted):
                self._add_scores(scores, rows)
                self._add_rows(rows)
            return
        longest = sizes.passed(self.num_classes)
        for first in range(0, len(batch.scores), longest):
            place = slice(first, first + longest)
            self._look(batch.scores[place], batch.marked[place])

    def _drain(self) -> None:
        staged, self._staged = self._staged, 0
        if staged and self._gathered is not None:
            scores, target = self._gathered
            self._look(scores[:staged], target[:staged])

    def _look(self, scores: Tensor, target: Tensor) -> None:
        batch = EvalBatch(scores, target)
        ring = batch.sizes.rows
        if self.multilabel or 2 * len(scores) > ring:
            rows = batch.rows(self._wanted)
            self._add_scores(scores, rows)
            self._add_rows(rows)
            return
        other = bool(self._ring) and self._ring["top"].dtype != scores.dtype
        if self._kept + len(scores) > ring or other:
            self._count()
        if not self._ring or other:
            with torch.inference_mode(False):
                self._ring = columns(ring, self._wanted, scores)
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
