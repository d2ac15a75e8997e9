"""Rules from rows as they came: searched for on one part of them, confirmed on the other."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_posttrain.explanations.anchors.beam import first_of_each, grown, hold_for
from lightning_posttrain.explanations.anchors.bounds import Bar, Judged, chernoff_lower
from lightning_posttrain.explanations.anchors.confirmation import confirmed, evidence_of

DRAWN_PER_ROW = 4
"""Rows drawn for a search weigh as much as so many times the rows that came, at most."""

RANKED = 14
"""Halvings for bounds that rules are put in order by."""
ALIKE = 1e-5
"""A rule is longer for nothing where it holds for no more than this share of rows less: sums in float32 are rounded."""


@dataclass(frozen=True, eq=False)
class Drawn:
    """Rows that were made for the search.

    Args:
        hold: which predicates hold for which row ``(n, P)``, bool.
        agree: which rows get the class ``(n,)``, bool.
    """

    hold: Tensor
    agree: Tensor

    def weight(self, rows: int) -> float:
        """Of each, beside so many draws that came: a power of two, up to 1, so that sums are exact."""
        share = min(1.0, DRAWN_PER_ROW * rows / max(1, len(self.agree)))
        return 2.0 ** math.floor(math.log2(share)) if share else 0.0


@dataclass(frozen=True, eq=False)
class Tried:
    """Rules that a search looked at.

    Args:
        rules: ``(A, P)``, bool.
        rows: for which each holds, those drawn by their weight ``(A,)``.
        safety: the bound that a confirmation would find, if what was counted went on alike ``(A,)``.
        complete: whether the search came to its end.
    """

    rules: Tensor
    rows: Tensor
    safety: Tensor
    complete: bool = True

    def __getitem__(self, which: Tensor) -> Tried:
        return Tried(self.rules[which], self.rows[which], self.safety[which], self.complete)


def _tried(rules: Tensor, counts: tuple[Tensor, Tensor, Tensor], *, level: float, ratio: float) -> Tried:
    """Rules ``(A, P)`` that hold for so many rows, with so many hits, from so many draws.

    Args:
        rules: the rules.
        counts: the three, each ``(A,)``.
        level: doubt of the confirmation, in nats.
        ratio: draws of the confirmation for each one here.
    """
    rows, hits, draws = (each.double() for each in counts)
    right = hits * draws / rows.clamp(min=1e-9)
    # a share of few rows is drawn a little towards 7 of 8, so that two hits of two are not sure
    return Tried(rules, rows, chernoff_lower((right + 0.7) / (draws + 0.8), draws * ratio, level, RANKED))


def beam_search(  # noqa: PLR0913 - all but three by keyword
    hold: Tensor,
    agree: Tensor,
    implies: Tensor,
    *,
    level: float,
    ratio: float,
    beam: int,
    max_size: int,
    over: Callable[[], bool] = lambda: False,
    weight: Tensor | None = None,
    draws: Tensor | None = None,
) -> Tried:
    """All rules that a beam search comes by, the empty one first; each size is two matrix products over the rows.

    Args:
        hold: which predicates hold for which row ``(n, P)``, bool.
        agree: which rows get the class ``(n,)``, bool.
        implies: whether one predicate makes another superfluous ``(P, P)``, bool.
        level: doubt of the confirmation, in nats.
        ratio: draws of the confirmation for each one here.
        beam: how many rules of a size grow.
        max_size: predicates at most.
        over: says that the time is over; then the search ends, with what it has.
        weight: of each row ``(n,)``, float32; else 1.
        draws: how many draws each row stands for ``(n,)``, float32, 0 for the copy of another; else its weight.
    """
    ones = torch.ones(len(hold), dtype=torch.float32, device=hold.device)
    weight = ones if weight is None else weight
    rows, parts = hold.float(), torch.stack([weight, weight * agree, weight if draws is None else draws])
    empty = torch.zeros(1, hold.shape[1], dtype=torch.bool, device=hold.device)
    held, right, drawn = parts.sum(1, keepdim=True)
    levels = [_tried(empty, (held, right, drawn), level=level, ratio=ratio)]
    complete = True
    for _ in range(max_size):
        if over():
            complete = False
            break
        parents = levels[-1][levels[-1].safety.argsort(descending=True, stable=True)[:beam]]
        inside = hold_for(parents.rules, hold)
        rules, came = grown(parents.rules, implies)
        held, right, drawn = (((inside * part) @ rows).flatten()[came] for part in parts)
        fewer = (held > 0) & (held < (1 - ALIKE) * parents.rows[came // len(implies)])
        if not fewer.any():
            break
        levels.append(_tried(rules[fewer], (held[fewer], right[fewer], drawn[fewer]), level=level, ratio=ratio))
    rules, held, safety = (torch.cat([getattr(each, name) for each in levels]) for name in ("rules", "rows", "safety"))
    return Tried(rules, held, safety, complete)


def front(tried: Tried) -> Tried:
    """Rules none of which is both less safe and less general than another: the safest first, the most general last."""
    order = tried.rules.sum(1).argsort(stable=True)
    for key in (tried.rows, tried.safety):
        order = order[key[order].argsort(descending=True, stable=True)]
    tried = tried[order]
    before = tried.rows.cummax(0).values.roll(1)
    before[0] = -1
    return tried[tried.rows > before]


def observed_rule(  # noqa: PLR0913 - all but four by keyword
    hold: Tensor,
    agree: Tensor,
    implies: Tensor,
    parts: tuple[Tensor, Tensor],
    *,
    bar: Bar,
    beam: int,
    max_size: int,
    over: Callable[[], bool] = lambda: False,
    drawn: Drawn | None = None,
    draw: Tensor | None = None,
) -> tuple[Tensor, Judged]:
    """The most general rule ``(P,)`` that can be confirmed, or the best that there is, and its figures.

    Rules are found on one part of the rows and confirmed on the other. They are tested there in an order that was fixed
    before, from the safest to the most general, up to the first that fails; so that each test may use all of the doubt
    (fixed-sequence testing: Maurer, Hothorn and Lehmacher, 1995; Angelopoulos et al., 2021, arXiv:2110.01052). A bound
    over all rules that were tried, on all rows, needs more than twice as many for a rule without a miss.

    Where the first fails, the rule of them all with the highest lower bound is returned, and the doubt is shared among
    all (Bonferroni): what is the best of many on some rows would else seem better there than it is.

    Args:
        hold: which predicates hold for which row ``(N, P)``, bool.
        agree: which rows get the class ``(N,)``, bool.
        implies: whether one predicate makes another superfluous ``(P, P)``, bool.
        parts: numbers of the rows to search on, and of those to confirm on.
        bar: what a rule has to reach.
        beam: how many rules of a size grow.
        max_size: predicates at most.
        over: says that the time is over; then the rule is one of those found so far, and is not said to be valid.
        drawn: rows made of those to search on, and searched on with them; they confirm nothing.
        draw: number of the draw that each row is from ``(N,)``, int64; else each is its own. All of one are in a part.
    """
    seen, fresh = parts
    draw = torch.arange(len(agree), device=agree.device) if draw is None else draw
    first = torch.zeros(len(agree)).index_fill(0, first_of_each(draw), 1.0)
    came, new = (int(first[part].sum()) for part in parts)
    made, light = (0, 0.0) if drawn is None else (len(drawn.agree), drawn.weight(came))
    tried = beam_search(
        *_searched(hold[seen], agree[seen], drawn), implies, level=-math.log(1 - bar.confidence),
        ratio=new / max(1.0, came + light * made), beam=beam, max_size=max_size, over=over,
        weight=_beside(torch.ones(len(seen)), light * len(seen) / max(1, came), made),
        draws=_beside(first[seen], light, made),
    )  # fmt: skip
    finalists = front(tried).rules
    # what holds for drawn rows alone says nothing of the table
    finalists = finalists[hold_for(finalists, hold).any(1)]
    best, judged = confirmed(evidence_of(finalists, hold, agree, fresh, draw), bar)
    return finalists[best], judged if tried.complete else judged.cut_short()


def _searched(hold: Tensor, agree: Tensor, drawn: Drawn | None) -> tuple[Tensor, Tensor]:
    """All rows to search on: which predicates hold for them, and whether they get the class."""
    if drawn is None:
        return hold, agree
    return torch.cat([hold, drawn.hold]), torch.cat([agree, drawn.agree])


def _beside(values: Tensor, value: float, made: int) -> Tensor:
    """Values of rows that came, and one for each that was made, float32."""
    values = values.to(torch.float32)
    return torch.cat([values, values.new_full((made,), value)])
