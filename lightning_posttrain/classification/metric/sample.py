"""A bounded sample of rows with their scores, for what is fitted at the end of an epoch."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from functools import lru_cache
from typing import final

import torch
from torch import Tensor

from lightning_posttrain.classification.metric.base import EvaluationMetric
from lightning_posttrain.classification.result.scores import ScoreRows
from lightning_posttrain.classification.rows import RowFacts
from lightning_posttrain.core.stream.smallest import Smallest

MEMORY = 1 << 26
"""Bytes of scores that are kept, at most twice as many while an epoch lasts and when ranks join them."""
FEWEST = 512
"""Rows that are kept whatever the number of classes."""
SPREAD = 0x9E3779B97F4A7C1
"""An odd number, by which whole numbers are spread over all others."""
NEVER = torch.iinfo(torch.int64).max
"""The key of a row that does not count, above all others."""


@final
class ScoreSample(EvaluationMetric):
    """Keeps the scores and the target of rows, of all up to 64 MiB, else of a sample of those.

    That is 1.6 million rows of 10 classes, 16 thousand of 1,000; 512 at least. Which rows are kept is told by a hash of
    their scores and target: it is a random sample of them that no order, split into batches or number of ranks changes.
    A mean over ``n`` of ``N`` rows has a standard error of its standard deviation times ``sqrt(1/n - 1/N)``.
    """

    scores: list[Tensor]
    marks: list[Tensor]
    keys: list[Tensor]
    counted: Tensor

    def __init__(self, num_classes: int, *, multilabel: bool = False, sync_on_compute: bool = True) -> None:
        super().__init__(num_classes, multilabel=multilabel, sync_on_compute=sync_on_compute)
        self.capacity = max(FEWEST, MEMORY // (4 * num_classes))
        self.grow("scores", num_classes, torch.float32)
        self.grow("marks", num_classes if multilabel else 1)
        self.grow("keys", 1)
        self.count("counted")
        self._bar: int | None = None
        self._smallest = Smallest(self.capacity)

    def reset(self) -> None:
        """Begin anew."""
        super().reset()
        self._bar = None
        self._smallest = Smallest(self.capacity)

    def add_scores(self, scores: Tensor, rows: RowFacts) -> None:
        """Keep rows; a row of labels of which none counts is none."""
        marks = ((rows.label + 1) * rows.counted).view(len(scores), -1)
        counts = (marks > 0).any(1)
        self.counted += counts.sum()
        kept = scores.to(torch.float32)
        keys = row_hash(kept, marks).masked_fill_(~counts, NEVER)
        if self._bar is not None:
            chosen = (keys <= self._bar).nonzero()[:, 0]
            kept, marks, keys = kept[chosen], marks[chosen], keys[chosen]
        elif kept.data_ptr() == scores.data_ptr():
            kept = kept.clone()  # a buffer may come in that is used again
        self._keep(kept, marks, keys[:, None])

    def add_rows(self, rows: RowFacts) -> None:
        """Nothing: what is needed came with the scores."""

    def _keep(self, scores: Tensor, marks: Tensor, keys: Tensor) -> None:
        self.scores.append(scores)
        self.marks.append(marks)
        self.keys.append(keys)
        if sum(map(len, self.keys)) <= 2 * self.capacity:
            return
        scores, marks, keys = (torch.cat(parts) for parts in (self.scores, self.marks, self.keys))
        chosen = keys[:, 0].topk(self.capacity, largest=False, sorted=False).indices
        self.scores, self.marks, self.keys = [scores[chosen]], [marks[chosen]], [keys[chosen]]
        if keys.device.type == "cpu":  # to look at a number of a GPU would wait for it
            self._bar = int(self.keys[0].max())

    def states(self) -> dict[str, Tensor]:
        """The states; of more rows than there is room for, those that are kept."""
        states = super().states()
        return self._least(states) if len(states["keys"]) > self.capacity else states

    def survey(self, rank: int, rows: Tensor) -> Tensor | None:
        """How the keys here are spread, where ranks have more rows than there is room for."""
        seeks = self._smallest.seeks(int(rows[:, 0].sum()))
        return self._smallest.survey(self.states()["keys"][:, 0], rank, len(rows)) if seeks else None

    def settle(self, total: Tensor) -> None:
        """Leave out rows that are not among the sample of all ranks."""
        states = self.states()
        chosen = self._smallest.chosen(states["keys"][:, 0], total)
        self.scores, self.marks, self.keys = ([states[name][chosen]] for name in ("scores", "marks", "keys"))

    def _least(self, states: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The rows with the smallest keys, in their order; rows that do not count come last."""
        # of other ranks there may be rows of zeros
        keys = states["keys"][:, 0].masked_fill(~(states["marks"] > 0).any(1), NEVER)
        chosen = keys.argsort(stable=True)[: self.capacity]
        return {**states, **{name: states[name][chosen] for name in ("scores", "marks", "keys")}}

    def report(self, states: Mapping[str, Tensor]) -> ScoreRows:
        """The rows; those of a GPU stay there while it has room, as what follows from all scores is fast there."""
        if self.device.type == "cuda":
            with contextlib.suppress(torch.cuda.OutOfMemoryError):
                return self.read(states)
        return self.read({name: state.cpu() for name, state in states.items()})

    def read(self, states: Mapping[str, Tensor]) -> ScoreRows:
        """The rows that count, in the order of their hashes, on the device of the states."""
        least = self._least(states)
        scores, marks = least["scores"], least["marks"]
        real, total = torch.stack([(marks > 0).any(1).sum(), states["counted"]]).tolist()  # one wait for both
        target = marks[:real] - 1
        return ScoreRows(scores[:real], target if self.multilabel else target[:, 0], total)


def row_hash(scores: Tensor, marks: Tensor) -> Tensor:
    """A number ``(N,)``, int64, from 0 up, that looks random but is always the same for a row.

    Args:
        scores: ``(N, C)`` float32.
        marks: ``(N, M)`` int64.
    """
    # whole numbers wrap around; half as wide they are twice as fast, and two sums of them are as good
    values = scores.view(torch.int32)
    values = (values >> 16).bitwise_xor_(values)  # low bits may all be zero, as those of what was bfloat16
    plain = values.sum(1, dtype=torch.int32)
    weighted = values.mul_(_odd(values.shape[1], values.dtype, values.device)).sum(1, dtype=torch.int32)
    joined = (weighted.long() << 32) + plain
    marked = _mixed((marks * _odd(marks.shape[1], marks.dtype, marks.device)).sum(1))
    return _mixed(joined ^ marked) & NEVER


@lru_cache(64)
def _odd(count: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Odd numbers ``(count,)`` that look random, in their lowest bits; made once, not to be changed."""
    with torch.inference_mode(False):
        return (_mixed(torch.arange(1, count + 1, device=device) * SPREAD) | 1).to(dtype)


def _mixed(values: Tensor) -> Tensor:
    for shift in (30, 27, 31):
        values = (values ^ (values >> shift)) * SPREAD
    return values ^ (values >> 32)
