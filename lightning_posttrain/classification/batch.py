"""One batch of an evaluation, in one form whatever the user's step and loader gave."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from lightning_posttrain.classification.hardness import hardness, ranked
from lightning_posttrain.classification.rows import BASIC, LEFT_OUT, RowFacts, columns, measure, measure_labels
from lightning_posttrain.core.stream.reading import Hardness
from lightning_posttrain.core.stream.stage_sizes import StageSizes, stage_sizes


@dataclass(frozen=True, eq=False)
class EvalBatch:
    """What one batch of validation or test amounts to; every metric reads this and nothing else.

    Args:
        scores: logits ``(N, C)``, at least float32; for a binary task ``C`` is 2; for multilabel log-odds ``(N, L)``.
        target: class index ``(N,)``, int64; for multilabel 0 or 1 ``(N, L)``.
        valid: bool, of the shape of ``target``, False for rows that a distributed sampler repeated, or that are to
            be ignored; None where all count.
        index: position of each sample in the dataset ``(N,)``, or None where the sampler does not tell.
        inputs: what the network was given, as the batch holds it.
        context: what it was given beside, row by row, each ``(N, ...)``.
        samples: how many samples the rows are of, where each has several, as an image has pixels; None where each row
            is a sample.
        sides: of a sample of many rows, as ``(H, W)`` of an image.
        ignored: a class whose rows are all left out, as ``ignore_index`` says, or None.
        single: whether the network gave one logit for the two classes, of which ``scores`` are minus and plus a half.
        disagreement: of the members of an ensemble, whose scores these are, ``(N,)``, or None.

    Example:
        >>> batch = EvalBatch(scores=torch.tensor([[2.0, 1.0], [0.0, float("nan")]]), target=torch.tensor([0, 1]))
        >>> batch.predicted.tolist(), batch.counted.tolist()
        ([0, 1], [True, False])
    """

    scores: Tensor
    target: Tensor
    valid: Tensor | None = None
    index: Tensor | None = None
    inputs: Any = None
    context: tuple[Tensor, ...] = ()
    samples: int | None = None
    sides: tuple[int, ...] = ()
    ignored: int | None = None
    single: bool = False
    disagreement: Tensor | None = None

    @property
    def num_classes(self) -> int:
        """``C`` or ``L``, the number of columns of ``scores``."""
        return self.scores.shape[1]

    @property
    def multilabel(self) -> bool:
        """Whether each row has any number of labels."""
        return self.target.ndim == 2

    @property
    def size(self) -> int:
        """How many samples the rows are of."""
        return len(self.target) if self.samples is None else self.samples

    def losses(self) -> Tensor:
        """Log loss of each sample, the mean over its labels or positions; NaN for one that enters no figure."""
        found = hardness(self)
        return torch.where(found.counted, found.loss, torch.nan)

    def hardness(self) -> Hardness:
        """How hard each sample is, and what its caption is made of."""
        return ranked(self)

    @cached_property
    def marked(self) -> Tensor:
        """``target``, with ``LEFT_OUT`` where not ``valid``."""
        return self.target if self.valid is None else self.target.masked_fill(~self.valid, LEFT_OUT)

    # what is asked of it to be joined with others

    @property
    def sizes(self) -> StageSizes:
        """How much is gathered, and looked at in one pass, where it lies."""
        return stage_sizes(self.scores.device, labels=self.multilabel)

    @property
    def nbytes(self) -> int:
        """Bytes of scores and targets."""
        return self.scores.nbytes + self.target.nbytes

    @property
    def form(self) -> tuple[Any, ...] | None:
        """What is equal in batches that can be joined; None where a sample has many rows."""
        known = tuple(part is not None for part in (self.index, self.disagreement))
        return None if self.samples is not None else (self.scores.dtype, self.scores.shape[1:], *known)

    @cached_property
    def held(self) -> EvalBatch:
        """Scores, targets, positions and disagreement, in memory that no later step changes."""
        target = self.target.clone() if self.valid is None else self.marked
        scores = self.scores.detach().clone()
        return EvalBatch(scores, target, index=self.index, ignored=self.ignored, disagreement=self.disagreement)

    def joined(self, others: Sequence[EvalBatch]) -> EvalBatch:
        """The rows of batches that are ``held``, one after the other."""
        parts = [self, *others]
        scores, target = torch.cat([one.scores for one in parts]), torch.cat([one.target for one in parts])
        index, apart = (
            None if getattr(self, name) is None else torch.cat([getattr(one, name) for one in parts])
            for name in ("index", "disagreement")
        )
        return EvalBatch(scores, target, index=index, ignored=self.ignored, disagreement=apart)

    def rows(self, wanted: Collection[str]) -> RowFacts:
        """Facts of its rows, those wanted and the basic ones; a row for each label of a multilabel batch."""
        known = self._facts
        if known and BASIC.union(wanted) <= known[0].facts.keys():
            return known[0]
        if self.multilabel:
            with torch.no_grad():
                known[:] = [measure_labels(self.scores, self.marked)]
        else:
            for _ in self.passes(wanted):
                pass
        return known[0]

    def passes(self, wanted: Collection[str]) -> Iterator[tuple[Tensor, RowFacts]]:
        """Its scores with the facts of their rows, some rows at a time, which need little memory beside their own.

        Of a batch without labels they are kept for ``rows``, as long as the batch is.
        """
        scores, marked = self.scores, self.marked
        length = self.sizes.passed(self.num_classes)
        places = [slice(first, first + length) for first in range(0, len(scores), length)]
        places = places if len(places) > 1 else [slice(None)]
        with torch.no_grad():
            if self.multilabel:
                for place in places:
                    yield scores[place], measure_labels(scores[place], marked[place])
                return
            facts = columns(len(scores), BASIC.union(wanted, *(each.facts for each in self._facts)), scores)
            for place in places:
                into = {name: column[place] for name, column in facts.items()} if len(places) > 1 else facts
                yield scores[place], measure(scores[place], marked[place], into)
        self._facts[:] = [RowFacts(self.num_classes, facts)]

    @cached_property
    def _facts(self) -> list[RowFacts]:
        """Those of all rows, once they are known."""
        return []

    @property
    def _basic(self) -> RowFacts:
        return self._facts[0] if self._facts else self.rows(BASIC)

    @property
    def predicted(self) -> Tensor:
        """Predicted class, of the shape of ``target``: the first of the largest scores. Meaningless where NaN."""
        return self._basic["predicted"].view(self.target.shape)

    @property
    def real(self) -> Tensor:
        """``valid``, all True where it is None."""
        return self._basic.real.view(self.target.shape)

    @property
    def in_range(self) -> Tensor:
        """Of the shape of ``target``, False where it is not a class of ``scores``."""
        return self._basic.in_range.view(self.target.shape)

    @property
    def counted(self) -> Tensor:
        """Of the shape of ``target``, True for what enters a figure."""
        return self._basic.counted.view(self.target.shape)
