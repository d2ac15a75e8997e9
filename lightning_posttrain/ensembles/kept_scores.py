"""Scores of the same rows for every member, whenever these were judged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from lightning_posttrain.classification import EvalBatch
from lightning_posttrain.core.output.result import Counted
from lightning_posttrain.core.stream.metric import StreamMetric
from lightning_posttrain.core.stream.smallest import Smallest

MEMORY = 1 << 24
"""Bytes of scores that are kept of each member."""
FEWEST = 512
"""Rows that are kept whatever the number of classes."""
GOLDEN = 0x9E3779B97F4A7C15 - (1 << 64)
"""By its multiples, as whole numbers wrap around, positions are spread evenly (Knuth, 1998, vol. 3, section 6.4)."""
POSITIONS = (1 << 31) - 1
"""More than a sample has rows, so that no two rows have one number."""
POSITIVE = torch.iinfo(torch.int64).max


@dataclass(frozen=True, eq=False)
class KeptScores(Counted):
    """Rows in the order of the loader.

    Args:
        scores: of each member ``(N, K, C)`` float32; logits, for labels log-odds.
        target: class ``(N,)``; for labels ``(N, L)``, -1 where one is not to be counted.
        sample: number of the sample that a row is of ``(N,)``, as of the image that a pixel is of.
        total: rows that were seen.
    """

    scores: Tensor
    target: Tensor
    sample: Tensor
    total: int

    def same_rows(self, other: KeptScores) -> bool:
        """Whether both are of the same rows."""
        return torch.equal(self.target, other.target) and torch.equal(self.sample, other.sample)


@final
class RowScores(StreamMetric):
    """Keeps the scores of the rows of one loader, of all up to 16 MiB for each member, else of some.

    That is 400 thousand rows of 10 classes, 4 thousand of 1,000; 512 at least. Which ones is told by their places in
    the loader alone, so that they are the same for every member and in every epoch.

    Args:
        members: ``K``, whose scores come together.
        num_classes: ``C``, or the number of labels.
        labels: whether each row has any number of labels.
        world: ``R``, over how many ranks the loader is shared.
        rank: which of them this is.
    """

    scores: list[Tensor]
    marks: list[Tensor]
    places: list[Tensor]
    counted: Tensor

    def __init__(self, members: int, num_classes: int, *, labels: bool, world: int = 1, rank: int = 0) -> None:
        super().__init__(sync_on_compute=False)
        self.members, self.num_classes, self.labels = members, num_classes, labels
        self.world, self.rank = world, rank
        self.capacity = max(FEWEST, MEMORY // (4 * num_classes))
        self.grow("scores", members * num_classes, torch.float32)
        self.grow("marks", num_classes if labels else 1)
        self.grow("places", 2)
        self.count("counted")
        self._samples = 0
        self._smallest = Smallest(self.capacity)

    def update(self, batch: EvalBatch | list[EvalBatch]) -> None:
        """Add a batch as each member scores it."""
        batches = batch if isinstance(batch, list) else [batch]
        first = batches[0]
        # not whether a score is finite, which differs between members
        counted = (first.real & first.in_range).view(len(first.target), self.num_classes if self.labels else 1)
        marks = (first.target.view(counted.shape).clamp(min=0) + 1) * counted
        scores = torch.stack([each.scores.to(torch.float32) for each in batches], 1).flatten(1)
        self._keep(scores, marks, self._places(first))
        self.counted += counted.any(1).sum()

    def _places(self, batch: EvalBatch) -> Tensor:
        """Number of the sample, and of the row in it, each from 1 ``(N, 2)``."""
        device, rows = batch.target.device, len(batch.target)
        each = max(rows // max(batch.size, 1), 1)
        sample = self.rank + self.world * (self._samples + torch.arange(batch.size, device=device))
        self._samples += batch.size
        inside = torch.arange(1, each + 1, device=device).repeat(batch.size)
        return torch.stack([1 + sample.repeat_interleave(each), inside], 1)

    def _keep(self, scores: Tensor, marks: Tensor, places: Tensor) -> None:
        self.scores.append(scores)
        self.marks.append(marks)
        self.places.append(places)
        if sum(map(len, self.marks)) > 2 * self.capacity:
            kept = self._least({name: torch.cat(getattr(self, name)) for name in ("scores", "marks", "places")})
            self.scores, self.marks, self.places = [kept["scores"]], [kept["marks"]], [kept["places"]]

    def survey(self, rank: int, rows: Tensor) -> Tensor | None:
        """How the keys here are spread, where ranks have more rows than there is room for."""
        seeks = self._smallest.seeks(int(rows[:, 0].sum()))
        return self._smallest.survey(_keys(self.states()), rank, len(rows)) if seeks else None

    def settle(self, total: Tensor) -> None:
        """Leave out rows that all ranks together do not keep."""
        states = self.states()
        chosen = self._smallest.chosen(_keys(states), total)
        self.scores, self.marks, self.places = ([states[name][chosen]] for name in ("scores", "marks", "places"))

    def _least(self, states: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The rows that are kept, in no order; those that do not count are the last to be."""
        chosen = _keys(states).argsort(stable=True)[: self.capacity]
        return {name: states[name][chosen] for name in ("scores", "marks", "places")}

    def kept(self) -> KeptScores:
        """What was kept, on the CPU."""
        return self.read({name: state.cpu() for name, state in self.states().items()})

    def read(self, states: Mapping[str, Tensor]) -> KeptScores:
        """The rows that count, in the order of the loader."""
        kept = self._least(states)
        real = (kept["marks"] > 0).any(1)
        scores, marks, places = (kept[name][real] for name in ("scores", "marks", "places"))
        within = places[:, 1].max() + 1 if len(places) else 1
        order = (places[:, 0] * within + places[:, 1]).argsort(stable=True)
        target = marks[order] - 1
        return KeptScores(
            scores=scores[order].view(-1, self.members, self.num_classes),
            target=target if self.labels else target[:, 0],
            sample=places[order, 0] - 1,
            total=int(states["counted"]),
        )


def _keys(states: Mapping[str, Tensor]) -> Tensor:
    """A number of each row, by which the smallest are kept; the largest where it does not count."""
    key = ((states["places"][:, 0] * POSITIONS + states["places"][:, 1]) * GOLDEN) & POSITIVE
    return key.masked_fill(~(states["marks"] > 0).any(1), POSITIVE)
