"""Sums over rows from which strategies are compared in pairs, and members told apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, final

import torch
from torch import Tensor

from lightning_posttrain.classification import LOSS, EvalBatch
from lightning_posttrain.core.output.result import Counted
from lightning_posttrain.core.statistics.precision import LARGEST_LOSS, wide
from lightning_posttrain.core.stream.metric import StreamMetric
from lightning_posttrain.ensembles.functional.diversity import Diversity, DiversitySums
from lightning_posttrain.ensembles.functional.paired import GroupedMoments

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
        hits: of the rows that are right, less those of the first.
        diversity: of the members.
    """

    loss: GroupedMoments
    hits: GroupedMoments
    diversity: Diversity


@final
class PairSums(StreamMetric):
    """Sums over samples of differences to the first strategy, and over rows of members that err together.

    Means are the same in any order of rows; what intervals are made of is, up to the rounding of float64.

    Args:
        strategies: ``S``, the first of them is what others are compared with.
        members: ``K``.
        spread: type of the sums that intervals are made of.
    """

    sums: Tensor
    spread: Tensor
    wrong: Tensor
    differs: Tensor
    entropy: Tensor
    number: Tensor

    def __init__(self, strategies: int, members: int, *, spread: torch.dtype = torch.float64) -> None:
        super().__init__(sync_on_compute=False)
        self.count("sums", 2, strategies)
        self.add_state("spread", torch.zeros(2, 2, strategies, dtype=spread), dist_reduce_fx="sum")
        self.count("wrong", members, members)
        self.count("differs", members, members)
        self.count("entropy", 2)
        self.count("number", 4)

    @torch.no_grad()
    def update(self, batch: Judged) -> None:
        """Add a batch."""
        if len(batch.members[0].target):
            self._add_strategies(batch.strategies)
            self._add_members(batch.members, batch.entropy)

    def _add_strategies(self, batches: Sequence[EvalBatch]) -> None:
        counted = torch.stack([batch.rows(LOSS).counted for batch in batches]).all(0)
        rows = counted.view(batches[0].size, -1).sum(1)
        firsts = _figures(batches[0])
        for place, batch in enumerate(batches):
            for kind, (figure, first) in enumerate(zip(_figures(batch), firsts, strict=True)):
                apart = torch.where(counted, figure - first, 0.0).view(len(rows), -1).sum(1)
                self.sums[kind, place] += (apart * FINE).round().long().sum()
                self.spread[kind, 0, place] += apart.square().sum()
                self.spread[kind, 1, place] += (apart * rows).sum()
        self.number[:3] += torch.stack([(rows > 0).sum(), rows.sum(), rows.square().sum()])

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
        self.number[3] += counted.sum()

    def pairs(self) -> Pairs:
        """What the sums amount to, on the CPU."""
        return self.read({name: state.cpu() for name, state in self.states().items()})

    def read(self, states: Mapping[str, Tensor]) -> Pairs:
        """The sums."""
        samples, rows, rows_squared, of_members = states["number"].clone()
        loss, hits = (
            GroupedMoments(total, squares.double(), products.double(), int(samples), int(rows), int(rows_squared))
            for total, (squares, products) in zip(
                states["sums"].double() / FINE, states["spread"].double(), strict=True
            )
        )
        total, own = states["entropy"].double() / FINE
        sums = DiversitySums(of_members, total, own, states["differs"].clone(), states["wrong"].clone())
        return Pairs(loss, hits, sums.diversity())


def _figures(batch: EvalBatch) -> tuple[Tensor, Tensor]:
    """Log loss of each row, and whether it is right."""
    rows = batch.rows(LOSS)
    return wide(rows.log_loss).clamp(max=LARGEST_LOSS), wide(rows.right.to(torch.float32))
