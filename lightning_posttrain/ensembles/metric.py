"""Sums over rows from which strategies are compared in pairs, and members told apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, final

import torch
from torch import Tensor

from lightning_posttrain.classification import EvalBatch
from lightning_posttrain.core.output.result import Counted
from lightning_posttrain.core.statistics.precision import LARGEST_LOSS, wide
from lightning_posttrain.core.stream.metric import StreamMetric
from lightning_posttrain.ensembles.functional.diversity import Diversity, DiversitySums
from lightning_posttrain.ensembles.functional.paired import PairedMoments

FINE = 2.0**24
"""Sums are kept as whole numbers of these parts, so that no order of rows changes them."""


class Judged(NamedTuple):
    """A batch as members and strategies score it.

    Args:
        strategies: its scores by each of ``S`` strategies.
        members: and by each of ``K`` members.
        entropy: of the members' mean, and the mean of theirs, of each row ``(2, R)``; what each label decides is a row.
    """

    strategies: Sequence[EvalBatch]
    members: Sequence[EvalBatch]
    entropy: Tensor


@dataclass(frozen=True, eq=False)
class Pairs(Counted):
    """What strategies do on the same samples, and how members differ on the same rows.

    Args:
        loss: of the log loss of each strategy, less that of the first.
        hits: of the share of each sample's rows that is right, less that of the first.
        diversity: of the members.
    """

    loss: PairedMoments
    hits: PairedMoments
    diversity: Diversity


@final
class PairSums(StreamMetric):
    """Sums over samples of differences to the first strategy, and over rows of members that err together.

    Args:
        strategies: ``S``, the first of them is what others are compared with.
        members: ``K``.
    """

    sums: Tensor
    wrong: Tensor
    differs: Tensor
    entropy: Tensor
    number: Tensor

    def __init__(self, strategies: int, members: int) -> None:
        super().__init__(sync_on_compute=False)
        self.count("sums", 4, strategies)
        self.count("wrong", members, members)
        self.count("differs", members, members)
        self.count("entropy", 2)
        self.count("number", 2)

    @torch.no_grad()
    def update(self, batch: Judged) -> None:
        """Add a batch."""
        self._add_strategies(batch.strategies)
        self._add_members(batch.members, batch.entropy)

    def _add_strategies(self, batches: Sequence[EvalBatch]) -> None:
        found = [batch.hardness() for batch in batches]
        counted = torch.stack([each.counted for each in found]).all(0)
        loss = wide(torch.stack([each.loss for each in found])).clamp(max=LARGEST_LOSS)
        hits = 1 - wide(torch.stack([each.columns["wrong"] for each in found]))
        for place, values in enumerate((loss, hits)):
            apart = torch.where(counted, values - values[:1], 0.0)
            for half, each in enumerate((apart, apart.square())):
                self.sums[2 * place + half] += (each * FINE).round().long().sum(1)
        self.number[0] += counted.sum()

    def _add_members(self, batches: Sequence[EvalBatch], entropy: Tensor) -> None:
        rows = [batch.rows(()) for batch in batches]
        counted = torch.stack([each.counted for each in rows]).all(0)
        wrong = torch.stack([~each.right for each in rows]) & counted
        predicted = torch.stack([each["predicted"] for each in rows])
        # counts of up to 2 ** 53 are whole in float64
        both = wide(wrong.to(torch.float32))
        self.wrong += (both @ both.mT).long()
        for member, own in enumerate(predicted):
            self.differs[member] += ((predicted != own) & counted).sum(1)
        self.entropy += (torch.where(counted, wide(entropy), 0.0) * FINE).round().long().sum(1)
        self.number[1] += counted.sum()

    def pairs(self) -> Pairs:
        """What the sums amount to, on the CPU."""
        return self.read({name: state.cpu() for name, state in self.states().items()})

    def read(self, states: Mapping[str, Tensor]) -> Pairs:
        """The sums."""
        loss, loss_squares, hits, hits_squares = states["sums"].double() / FINE
        samples, rows = states["number"].clone()
        total, own = states["entropy"].double() / FINE
        sums = DiversitySums(rows, total, own, states["differs"].clone(), states["wrong"].clone())
        return Pairs(
            PairedMoments(loss, loss_squares, int(samples)),
            PairedMoments(hits, hits_squares, int(samples)),
            sums.diversity(),
        )
