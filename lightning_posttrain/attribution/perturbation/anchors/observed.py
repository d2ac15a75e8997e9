"""Rules from rows as they came: searched for on one part of them, confirmed on the other."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_posttrain.attribution.perturbation.anchors.beam import grown, hold_for
from lightning_posttrain.attribution.perturbation.anchors.bounds import Bar, Judged, chernoff_lower


@dataclass(frozen=True, eq=False)
class Tried:
    """Rules that a search looked at.

    Args:
        rules: ``(A, P)``, bool.
        rows: for which each holds ``(A,)``.
        safety: the bound that a confirmation would find, if what was counted went on alike ``(A,)``.
    """

    rules: Tensor
    rows: Tensor
    safety: Tensor

    def __getitem__(self, which: Tensor) -> Tried:
        return Tried(self.rules[which], self.rows[which], self.safety[which])


def _tried(rules: Tensor, rows: Tensor, hits: Tensor, *, level: float, ratio: float) -> Tried:
    """Rules ``(A, P)`` that hold for so many rows, with so many hits, confirmed on ``ratio`` times as many rows."""
    # a share of few rows is drawn a little towards 7 of 8, so that two hits of two are not sure
    share = (hits.double() + 0.7) / (rows + 0.8)
    return Tried(rules, rows.long(), chernoff_lower(share, rows * ratio, level))


def beam_search(
    hold: Tensor, agree: Tensor, implies: Tensor, *, level: float, ratio: float, beam: int, max_size: int
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
    """
    rows, hits = hold.float(), agree.float()
    empty = torch.zeros(1, hold.shape[1], dtype=torch.bool, device=hold.device)
    levels = [_tried(empty, torch.tensor([len(agree)]), agree.sum()[None], level=level, ratio=ratio)]
    for _ in range(max_size if hold.shape[1] else 0):
        parents = levels[-1][levels[-1].safety.argsort(descending=True, stable=True)[:beam]]
        inside = hold_for(parents.rules, hold).float()
        rules, came = grown(parents.rules, implies)
        held, right = (counted.flatten()[came] for counted in (inside @ rows, (inside * hits) @ rows))
        fewer = (held > 0) & (held < parents.rows[came // len(implies)])
        if not fewer.any():
            break
        levels.append(_tried(rules[fewer], held[fewer], right[fewer], level=level, ratio=ratio))
    return Tried(*(torch.cat([getattr(part, name) for part in levels]) for name in ("rules", "rows", "safety")))


def front(tried: Tried) -> Tried:
    """Rules none of which is both less safe and less general than another: the safest first, the most general last."""
    order = tried.rules.sum(1).argsort(stable=True)
    for key in (tried.rows, tried.safety):
        order = order[key[order].argsort(descending=True, stable=True)]
    tried = tried[order]
    before = tried.rows.cummax(0).values.roll(1)
    before[0] = -1
    return tried[tried.rows > before]


def observed_rule(
    hold: Tensor, agree: Tensor, implies: Tensor, parts: tuple[Tensor, Tensor], *, bar: Bar, beam: int, max_size: int
) -> tuple[Tensor, Judged]:
    """The most general rule ``(P,)`` that can be confirmed, or the best that there is, and its figures.

    Rules are found on one part of the rows and confirmed on the other. They are tested there in an order that was fixed
    before, from the safest to the most general, up to the first that fails; so that each test may use all of the doubt
    (fixed-sequence testing: Maurer, Hothorn and Lehmacher, 1995; Angelopoulos et al., 2021, arXiv:2110.01052). A bound
    over all rules that were tried, on all rows, needs more than twice as many for a rule without a miss.

    Args:
        hold: which predicates hold for which row ``(N, P)``, bool.
        agree: which rows get the class ``(N,)``, bool.
        implies: whether one predicate makes another superfluous ``(P, P)``, bool.
        parts: numbers of the rows to search on, and of those to confirm on.
        bar: what a rule has to reach.
        beam: how many rules of a size grow.
        max_size: predicates at most.
    """
    seen, fresh = parts
    level, ratio = -torch.tensor(1 - bar.confidence).log().item(), len(fresh) / max(1, len(seen))
    tried = beam_search(hold[seen], agree[seen], implies, level=level, ratio=ratio, beam=beam, max_size=max_size)
    finalists = front(tried).rules
    inside = hold_for(finalists, hold[fresh])
    rows, hits = inside.sum(1), (inside & agree[fresh]).sum(1)
    good = [bar.passed(h, n) for h, n in zip(hits.tolist(), rows.tolist(), strict=True)]
    passed = good.index(False) if False in good else len(good)
    lower = chernoff_lower(hits.double() / rows.clamp(min=1), rows, level).masked_fill(torch.tensor(good), -1.0)
    best = passed - 1 if passed else int(lower.argmax())
    return finalists[best], bar.judged(int(hits[best]), int(rows[best]))
