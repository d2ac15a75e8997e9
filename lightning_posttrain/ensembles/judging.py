"""What members and strategies amount to on one loader, batch by batch, with weights that are frozen."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import torch
from torch import Tensor

from lightning_posttrain.classification import ClassReading, EvalBatch, LossSums, ReliabilityBins
from lightning_posttrain.core.stream.metric import StreamMetric
from lightning_posttrain.core.stream.reading import Part
from lightning_posttrain.ensembles.functional.combination import Combination
from lightning_posttrain.ensembles.functional.diversity import entropy_parts
from lightning_posttrain.ensembles.functional.rows import member_rows, scores_of
from lightning_posttrain.ensembles.metric import Judged, Pairs, PairSums

Strategy: TypeAlias = Combination | int
"""How members become one; a number takes that one alone."""
KINDS = (LossSums, ReliabilityBins)
AT_ONCE = 1 << 22
"""Log-probabilities of all members that are worked on at a time, so that a segmentation needs little memory."""
TOGETHER = 1 << 16
"""Those of small batches that wait for each other, as the time for few is that for many."""


@dataclass(frozen=True)
class Figures:
    """How well scores do: share of rows that are right, and proper scores; NaN where there are no rows."""

    accuracy: float
    log_loss: float
    brier: float
    ece: float


class Scored:
    """A batch as each strategy scores it, worked out when asked for.

    Args:
        by: gives the batch of a strategy, with the disagreement of the members.
    """

    def __init__(self, by: Callable[[str], EvalBatch]) -> None:
        self._by = by

    def __getitem__(self, name: str) -> EvalBatch:
        return self._by(name)


class Judge:
    """Folds batches, as each member scores them, into the figures of every strategy.

    Args:
        reading: how batches are read.
        likeness: of the loader's batches.
        strategies: by name, the one that others are compared with first.
        members: how many there are, and how many of them, from the first, are combined; others are averages of these.
        device: where the scores are.
    """

    def __init__(
        self,
        reading: ClassReading,
        likeness: tuple[int, ...],
        *,
        strategies: Mapping[str, Strategy],
        members: tuple[int, int],
        device: torch.device,
    ) -> None:
        self._reading = reading
        self._strategies = strategies
        self._parts: dict[str, Part] = {name: reading.part(likeness, KINDS, device) for name in strategies}
        number, self._mixed = members
        self._members = [reading.part(likeness, KINDS, device) for _ in range(number)]
        self._waiting: list[Sequence[EvalBatch]] = []
        with torch.inference_mode(False):
            spread = torch.float32 if device.type == "mps" else torch.float64
            self._pairs = PairSums(len(strategies), self._mixed, spread=spread).to(device)

    @property
    def metrics(self) -> list[StreamMetric]:
        """All that is summed over ranks."""
        self._flush()
        parts = [*self._parts.values(), *self._members]
        for part in parts:
            part.flush()
        return [*(metric for part in parts for metric in part.metrics.values()), self._pairs]

    def add(self, batches: Sequence[EvalBatch]) -> Scored:
        """Fold a batch as each member scores it; gives it as a strategy does, by its name."""
        whole = [replace(each, inputs=None, index=None, context=()) for each in batches]
        self._waiting.append(whole)
        if batches[0].samples is not None or sum(map(_amount, self._waiting)) >= TOGETHER:
            self._flush()
        return Scored(lambda name: self._scored(name, batches))

    @torch.no_grad()
    def _scored(self, name: str, batches: Sequence[EvalBatch]) -> EvalBatch:
        pieces = []
        for piece in zip(*map(_pieces, batches), strict=True):
            logp = self._rows(piece)
            apart = entropy_parts(logp).information.view(piece[0].size, -1).mean(1) if piece[0].size else None
            pieces.append(replace(self._combined(self._strategies[name], logp, piece), disagreement=apart))
        return _joined(pieces, batches[0])

    def _rows(self, batches: Sequence[EvalBatch]) -> Tensor:
        return member_rows(torch.stack([batch.scores for batch in batches[: self._mixed]], 1), self._reading.task)

    def _flush(self) -> None:
        """Fold what has waited."""
        waiting, self._waiting = self._waiting, []
        if waiting:
            for piece in zip(*(_pieces(_together(each)) for each in zip(*waiting, strict=True)), strict=True):
                self._piece(piece)

    @torch.no_grad()
    def _piece(self, batches: tuple[EvalBatch, ...]) -> None:
        logp = self._rows(batches)
        found = {name: self._combined(each, logp, batches) for name, each in self._strategies.items()}
        for name, batch in found.items():
            self._parts[name].add(batch)
        for part, batch in zip(self._members, batches, strict=True):
            part.add(batch)
        self._pairs.update(Judged(list(found.values()), batches[: self._mixed], torch.stack(entropy_parts(logp)[:2])))

    def _combined(self, how: Strategy, logp: Tensor, batches: Sequence[EvalBatch]) -> EvalBatch:
        """A batch as a strategy scores it; a member that stands alone, as it scores it itself."""
        if isinstance(how, int):
            return batches[how]
        if how.temperature == 1 and how.how == "probabilities" and len(how.used) == 1:
            return batches[how.used[0]]
        first = batches[0]
        scores = scores_of(how(logp), self._reading.task, first.num_classes)
        return replace(first, scores=scores.to(torch.promote_types(first.scores.dtype, torch.float32)), single=False)

    def results(self) -> tuple[dict[str, Figures], list[Figures], Pairs]:
        """The figures of each strategy and of each member, and what follows from the same samples."""
        self._flush()
        return (
            {name: self._figures(part) for name, part in self._parts.items()},
            [self._figures(part) for part in self._members],
            self._pairs.pairs(),
        )

    def _figures(self, part: Part) -> Figures:
        part.flush()
        found: Mapping[type[StreamMetric], Any] = part.results()
        bins, sums = found[ReliabilityBins], part.metrics[LossSums]
        # over all rows, so that labels weigh by how many of them are known, as in what is fitted
        losses: Any = sums.report({"sums": sums.states()["sums"].sum(1, keepdim=True)})
        right, wrong = int(bins.right.sum()), int(bins.wrong.sum())
        accuracy = right / (right + wrong) if right + wrong else float("nan")
        loss, brier = float(losses.log_loss), float(losses.brier)
        return Figures(accuracy, loss, brier, bins.ece if self._reading.task == "multiclass" else bins.ece_of_one)


def _amount(batches: Sequence[EvalBatch]) -> int:
    """How many scores there are of all members."""
    return batches[0].scores.numel() * len(batches)


def _together(batches: Sequence[EvalBatch]) -> EvalBatch:
    """Batches of one member as one."""
    if len(batches) == 1:
        return batches[0]
    scores, target = (torch.cat([getattr(batch, part) for batch in batches]) for part in ("scores", "target"))
    masked = any(batch.valid is not None for batch in batches)
    valid = [
        torch.ones_like(batch.target, dtype=torch.bool) if batch.valid is None else batch.valid for batch in batches
    ]
    return replace(batches[0], scores=scores, target=target, valid=torch.cat(valid) if masked else None)


def _pieces(batch: EvalBatch) -> Iterator[EvalBatch]:
    """A batch of few large samples in pieces of whole samples."""
    samples = batch.size
    each = len(batch.scores) // max(samples, 1)
    step = max(AT_ONCE // max(each * batch.num_classes * 8, 1), 1)
    if step >= samples:
        yield batch
        return
    for first in range(0, samples, step):
        rows = slice(first * each, (first + step) * each)
        number = min(step, samples - first)
        yield replace(
            batch, scores=batch.scores[rows], target=batch.target[rows], inputs=None, index=None, context=(),
            valid=None if batch.valid is None else batch.valid[rows],
            samples=None if batch.samples is None else number,
        )  # fmt: skip


def _joined(pieces: Sequence[EvalBatch], whole: EvalBatch) -> EvalBatch:
    if len(pieces) == 1:
        return pieces[0]
    apart = [piece.disagreement for piece in pieces if piece.disagreement is not None]
    scores = torch.cat([piece.scores for piece in pieces])
    return replace(whole, scores=scores, single=False, disagreement=torch.cat(apart) if apart else None)
