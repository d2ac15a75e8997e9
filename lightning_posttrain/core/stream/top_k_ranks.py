"""The rows with the largest values of all ranks: their values are told first, and only whose that win are sent."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from lightning_posttrain.core.stream.ranks import put_together
from lightning_posttrain.core.stream.top_k import UNKNOWN, Columns, Hardest

if TYPE_CHECKING:
    from lightning.pytorch import Trainer

FACTS = ("value", "place", "group")
Kind = tuple[tuple[int, ...], torch.dtype]


class Offer(NamedTuple):
    """What a rank tells of the rows that it kept: a few numbers of each, and what it could send of them.

    Args:
        facts: ``value``, ``place`` and ``group`` ``(K,)``.
        kinds: of its other columns, by name shape of a row and type.
    """

    facts: dict[str, Tensor]
    kinds: dict[str, Kind]

    @classmethod
    def of(cls, columns: Columns) -> Offer | None:
        """From what ``Hardest.take`` gave; None where it kept nothing."""
        if not columns or not len(columns["value"]):
            return None
        others = {name: (tuple(c.shape[1:]), c.dtype) for name, c in columns.items() if name not in FACTS}
        return cls({name: columns[name] for name in FACTS}, others)


Offers = Mapping[str, Offer | None]


def shapes_that_differ(offers: Sequence[Offers], names: Collection[str]) -> set[str]:
    """Those of the columns ``names`` that have not one shape on all ranks, or that some have not."""
    every = [offer.kinds for of_rank in offers for offer in of_rank.values() if offer is not None]
    shapes = {name: {kinds[name][0] if name in kinds else None for kinds in every} for name in names}
    return {name for name, found in shapes.items() if len(found) > 1 or None in found}


def hardest_of_all(
    trainer: Trainer,
    kept: Mapping[str, Hardest],
    mine: Mapping[str, Columns],
    offers: Sequence[Offers],
    *,
    without: Collection[str] = (),
) -> dict[str, dict[str, Tensor]]:
    """What each of several would have kept of the rows of all ranks, in their order; all ranks together.

    A rank receives the columns of the rows that win, however many ranks there are.

    Args:
        trainer: of the run.
        kept: by name, which have kept nothing.
        mine: what they took on this rank.
        offers: what each rank told of its own.
        without: columns that are left out.
    """
    found = {name: _winners(hardest, [of_rank[name] for of_rank in offers]) for name, hardest in kept.items()}
    kinds = {name: _common([of_rank[name] for of_rank in offers], without) for name in kept}
    sent = [
        _own(found[name], mine[name].get(column), kind, trainer.global_rank)
        for name in kept
        for column, kind in kinds[name].items()
    ]
    received = iter(put_together(trainer, sent))
    return {
        name: {**{fact: found[name][fact] for fact in FACTS}, **{column: next(received) for column in kinds[name]}}
        if found[name]
        else {}
        for name in kept
    }


def _winners(hardest: Hardest, offers: Sequence[Offer | None]) -> dict[str, Tensor]:
    """Facts of the rows that are kept, and of which rank, and there which row, each is."""
    for rank, offer in enumerate(offers):
        if offer is not None:
            value, place, group = (offer.facts[fact] for fact in FACTS)
            known = bool((place != UNKNOWN).all())
            whose = {"rank": torch.full_like(place, rank), "row": torch.arange(len(place))}
            hardest.offer(value, place if known else None, whose, group)
    return hardest.take()


def _common(offers: Sequence[Offer | None], without: Collection[str]) -> dict[str, Kind]:
    """Columns that all ranks with rows have."""
    kinds = [offer.kinds for offer in offers if offer is not None]
    names = [name for name in kinds[0] if name not in without and all(name in each for each in kinds)] if kinds else []
    return {name: kinds[0][name] for name in names}


def _own(winners: Columns, column: Tensor | None, kind: Kind, rank: int) -> Tensor:
    """A column of the rows that win, with zeros where they are of other ranks."""
    shape, dtype = kind
    sent = torch.zeros(len(winners["rank"]), *shape, dtype=dtype)
    own = winners["rank"] == rank
    if column is not None:
        sent[own] = column[winners["row"][own]].to(dtype)
    return sent
