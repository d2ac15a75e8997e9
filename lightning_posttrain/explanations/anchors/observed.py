"""Rules from rows as they came: searched for on one part of them, confirmed on the other."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_posttrain.explanations.anchors.beam import grown, hold_for
from lightning_posttrain.explanations.anchors.bounds import Bar, Judged, chernoff_lower

DRAWN_PER_ROW = 4
"""Rows drawn for a search weigh as much as so many times the rows that came, at most."""

RANKED = 14
"""Halvings for bounds that rules are put in order by."""


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
        """Of each, beside so many rows that came: a power of two, up to 1, so that sums are exact."""
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


def _tried(rules: Tensor, rows: Tensor, hits: Tensor, *, level: float, ratio: float) -> Tried:
    """Rules ``(A, P)`` that hold for so many rows, with so many hits, confirmed on ``ratio`` times as many rows."""
    # a share of few rows is drawn a little towards 7 of 8, so that two hits of two are not sure
    share = (hits.double() + 0.7) / (rows + 0.8)
    return Tried(rules, rows.double(), chernoff_lower(share, rows * ratio, level, RANKED))


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
) -> Tried:
    """All rules that a beam search comes by, the empty one first; each size is two matrix products over the rows.

    Args:
        hold: which predicates hold for which row ``(n, P)``, bool.
        agree: which rows get the class ``(n,)``, bool.
        implies: whether one predicate makes another superfluous ``(P, P)``, bool.
        level: doubt of the confirmation, in nats.
        ratio: rows of the confirmation for each one here.
        beam: how many rules of a size grow.
        max_size: predicates at most.
        over: says that the time is over; then the search ends, with what it has.
        weight: of each row ``(n,)``; else 1.
    """
    weight = torch.ones(len(hold), device=hold.device) if weight is None else weight
    rows, hits = hold.float(), agree.float()
    empty = torch.zeros(1, hold.shape[1], dtype=torch.bool, device=hold.device)
    levels = [_tried(empty, weight.sum()[None], (weight * hits).sum()[None], level=level, ratio=ratio)]
    complete = True
    for _ in range(max_size):
        if over():
            complete = False
            break
        parents = levels[-1][levels[-1].safety.argsort(descending=True, stable=True)[:beam]]
        inside = hold_for(parents.rules, hold) * weight
        rules, came = grown(parents.rules, implies)
        held, right = (counted.flatten()[came] for counted in (inside @ rows, (inside * hits) @ rows))
        fewer = (held > 0) & (held < parents.rows[came // len(implies)])
        if not fewer.any():
            break
        levels.append(_tried(rules[fewer], held[fewer], right[fewer], level=level, ratio=ratio))
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
    """
    seen, fresh = parts
    held, right, weight = _searched(hold[seen], agree[seen], drawn)
    level, ratio = -math.log(1 - bar.confidence), len(fresh) / max(1.0, float(weight.sum()))
    tried = beam_search(
        held, right, implies, level=level, ratio=ratio, beam=beam, max_size=max_size, over=over, weight=weight
    )
    finalists = front(tried).rules
    inside = hold_for(finalists, hold[fresh])
    rows, hits = inside.sum(1), (inside & agree[fresh]).sum(1)
    best, judged = _confirmed(list(zip(hits.tolist(), rows.tolist(), strict=True)), bar)
    return finalists[best], judged if tried.complete else judged.cut_short()


def _searched(hold: Tensor, agree: Tensor, drawn: Drawn | None) -> tuple[Tensor, Tensor, Tensor]:
    """All rows to search on: which predicates hold for them, whether they get the class, and their weights."""
    weight = torch.ones(len(agree), device=agree.device)
    if drawn is None:
        return hold, agree, weight
    light = weight.new_full((len(drawn.agree),), drawn.weight(len(agree)))
    return torch.cat([hold, drawn.hold]), torch.cat([agree, drawn.agree]), torch.cat([weight, light])


def _confirmed(counts: list[tuple[int, int]], bar: Bar) -> tuple[int, Judged]:
    """The last rule before the first that fails; or of those that fail the one with the highest lower bound."""
    good = [bar.passed(hits, rows) for hits, rows in counts]
    passed = good.index(False) if False in good else len(good)
    if passed:
        return passed - 1, bar.judged(*counts[passed - 1])
    every = [bar.judged(*count, tests=len(counts)) for count in counts]
    # one that would pass only after the first has failed must not: it would have had a second chance
    best = max((place for place, each in enumerate(every) if not each.valid), key=lambda place: every[place].lower)
    return best, every[best]
