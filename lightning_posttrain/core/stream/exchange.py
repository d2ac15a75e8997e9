"""What ranks send each other so that each has the states of all, apart from how it is sent.

An exchange is a generator: it yields what this rank sends and is sent what all have. So any number of ranks can be
played through in one process. Every rank yields messages of the same kind and size in the same order.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from lightning_posttrain.core.stream.metric import StreamMetric
from lightning_posttrain.core.stream.packing import in_one, unpacked, words_of

Found = TypeVar("Found")


class Told(NamedTuple):
    """A few whole numbers ``(K,)`` that all ranks are to know; what comes back are those of each, ``(R, K)``."""

    numbers: Tensor


class Summed(NamedTuple):
    """Numbers that are to be summed over ranks, which may happen in place; what comes back is the sum."""

    numbers: Tensor


Exchange = Generator["Told | Summed", Tensor, Found]
WIDTH = 16
"""More than the bytes of a number: rows are told times this, plus the bytes of each of their numbers."""


class State(NamedTuple):
    """A state of a metric as it is on this rank, and whether it grows: its parts in one, or the sums."""

    metric: StreamMetric
    name: str
    value: Tensor
    grows: bool


def states_of(metrics: Iterable[StreamMetric]) -> list[State]:
    """The states of metrics, in one order on all ranks, as small as can be."""
    metrics = tuple(metrics)
    for metric in metrics:
        metric.compact()
    return [
        State(metric, name, value, not isinstance(getattr(metric, name), Tensor))
        for metric in metrics
        for name, value in metric.states().items()
    ]


def rows_told(states: Iterable[State]) -> list[int]:
    """How many rows each state that grows has, and of what width its numbers are."""
    return [len(state.value) * WIDTH + state.value.element_size() for state in states if state.grows]


def joined(states: Sequence[State], rank: int, told: Tensor | None = None) -> Exchange[None]:
    """Sum what is counted, and put rows one after the other in the order of ranks.

    Rows are sent in numbers that are zero on all ranks but one, which a sum puts together. So a rank receives what all
    have, however unevenly, and not as many times what one has as there are ranks.

    Args:
        states: of the same metrics on every rank; they get what all ranks have.
        rank: of this process.
        told: ``rows_told`` of each rank ``(R, G)``, where these are known.
    """
    if told is None and any(state.grows for state in states):
        told = yield Told(torch.tensor(rows_told(states)))
    while told is not None and (settled := (yield from _settled(states, rank, told // WIDTH))):
        states = settled
        told = yield Told(torch.tensor(rows_told(states)))
    growing = [state for state in states if state.grows]
    rows = [] if told is None else [_Rows.of(state.value, told[:, k], rank) for k, state in enumerate(growing)]
    fixed = [state for state in states if not state.grows]
    yield from _whole_numbers([state for state in fixed if state.value.dtype == torch.int64], growing, rows)
    others = [state for state in fixed if state.value.dtype != torch.int64]
    for dtype in dict.fromkeys(state.value.dtype for state in others):
        chosen = [state for state in others if state.value.dtype == dtype]
        _share(chosen, (yield Summed(in_one([state.value for state in chosen]))))


@dataclass(frozen=True)
class _Rows:
    """Rows of this rank, and which of those of all they are."""

    mine: Tensor
    first: int
    total: int

    @classmethod
    def of(cls, mine: Tensor, told: Tensor, rank: int) -> _Rows:
        """From what each rank tells of them ``(R,)``; one that has none does not know how wide others' numbers are."""
        counts, width = told // WIDTH, int((told % WIDTH).max())
        same = mine if width in (0, mine.element_size()) else mine.double()
        return cls(same, int(counts[:rank].sum()), int(counts.sum()))

    @property
    def kind(self) -> tuple[tuple[int, ...], torch.dtype]:
        """Shape and type of those of all."""
        return (self.total, *self.mine.shape[1:]), self.mine.dtype


def _settled(states: Sequence[State], rank: int, rows: Tensor) -> Exchange[list[State]]:
    """The states after metrics have left out rows that are not needed; none where all are."""
    metrics = list({id(state.metric): state.metric for state in states}.values())
    surveys, start = [], 0
    for metric in metrics:
        grow = sum(state.grows for state in states if state.metric is metric)
        survey = metric.survey(rank, rows[:, start : start + grow])
        surveys += [] if survey is None else [(metric, survey)]
        start += grow
    if not surveys:
        return []
    total = yield Summed(in_one([survey for _, survey in surveys]))
    for (metric, _), part in zip(surveys, torch.split(total, [survey.numel() for _, survey in surveys]), strict=True):
        metric.settle(part)
    return states_of(metrics)


def _whole_numbers(fixed: Sequence[State], growing: Sequence[State], rows: Sequence[_Rows]) -> Exchange[None]:
    """Send all counts and all rows in one message."""
    message = _message([state.value for state in fixed], rows)
    if len(message):
        message = yield Summed(message)
    counts = sum(state.value.numel() for state in fixed)
    _share(fixed, message[:counts])
    for state, value in zip(growing, unpacked(message[counts:], [row.kind for row in rows]), strict=True):
        setattr(state.metric, state.name, [value])


def _message(counts: Sequence[Tensor], rows: Sequence[_Rows]) -> Tensor:
    words = sum(words_of(*row.kind) for row in rows)
    if not words:
        return in_one(counts) if counts else torch.zeros(0, dtype=torch.int64)
    first = sum(state.numel() for state in counts)
    message = torch.zeros(first + words, dtype=torch.int64, device=rows[0].mine.device)
    if counts:
        message[:first] = in_one(counts)
    for row, place in zip(rows, unpacked(message[first:], [row.kind for row in rows]), strict=True):
        place[row.first : row.first + len(row.mine)] = row.mine
    return message


def _share(states: Sequence[State], flat: Tensor) -> None:
    """Give states their part of one tensor."""
    for state, part in zip(states, torch.split(flat, [state.value.numel() for state in states]), strict=True):
        setattr(state.metric, state.name, part.view(state.value.shape))
