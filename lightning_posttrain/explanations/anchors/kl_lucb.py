"""The search of the Anchors paper: samples go to the rules among which it is not yet clear which are best."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_posttrain.explanations.anchors.beam import grown
from lightning_posttrain.explanations.anchors.bounds import Bar, Judged, chernoff_lower, chernoff_upper

Draw = Callable[[Tensor, int], Tensor]
"""From rules ``(A, P)`` and a number of new samples for each to how many of these got the class ``(A,)``."""

FINALISTS = 4


@dataclass(frozen=True)
class Effort:
    """How much a search asks for.

    Args:
        beam: rules of a size that grow.
        max_size: predicates at most.
        round: samples of each rule in play at a time.
        slack: how much worse the precision of a rule that is kept may be than of one that is not.
        budget: samples at most, about, of all sizes of rules; of each, the search goes on with what it then knows.
        fresh: samples that confirm a finalist.
    """

    beam: int = 4
    max_size: int = 6
    round: int = 64
    slack: float = 0.15
    budget: int = 100_000
    fresh: int = 1000


class Arms:
    """Rules of one size and their counts so far.

    Args:
        rules: ``(A, P)``, bool, on the CPU.
        draw: gives new samples.
        counts: rows and hits ``(A,)`` to begin with, that are as good as new samples.
    """

    def __init__(self, rules: Tensor, draw: Draw, counts: tuple[Tensor, Tensor]) -> None:
        self.rules = rules
        self.drawn = 0
        self._draw = draw
        self.rows, self.hits = counts[0].clone(), counts[1].clone()

    @property
    def share(self) -> Tensor:
        """Precision so far ``(A,)``, float64."""
        return self.hits.double() / self.rows.clamp(min=1)

    def sample(self, which: Tensor, number: int) -> None:
        """So many new samples of each of these rules, all in one batch."""
        if len(which):
            self.hits[which] += self._draw(self.rules[which], number)
            self.rows[which] += number
            self.drawn += number * len(which)


def best_arms(arms: Arms, effort: Effort, *, doubt: float, budget: int) -> Tensor:
    """Numbers of the rules of best precision, as many as the beam is wide, by KL-LUCB in batches.

    Kaufmann and Kalyanakrishnan, 2013 (COLT); exploration rate of Ribeiro, Singh and Guestrin, 2018. In each round not
    two rules, but all whose interval still overlaps with the other side get new samples: more samples, far fewer calls.

    Args:
        arms: rules and counts; gets new ones.
        effort: how wide the beam is, and what may stay unclear.
        doubt: of all intervals together.
        budget: samples at most, about.
    """
    arms.sample((arms.rows < effort.round // 2).nonzero()[:, 0], effort.round // 2)
    rounds = 1
    while True:
        order = arms.share.argsort(descending=True, stable=True)
        kept, others = order[: effort.beam], order[effort.beam :]
        if not len(others) or arms.drawn >= budget:
            return kept
        rate = math.log(405.5 * len(order) * rounds**1.1 / doubt)
        low = chernoff_lower(arms.share[kept], arms.rows[kept], rate + math.log(rate))
        high = chernoff_upper(arms.share[others], arms.rows[others], rate + math.log(rate))
        worst, best = low.min(), high.max()
        if best - worst <= effort.slack:
            return kept
        unclear = kept[low < best - effort.slack], others[high > worst + effort.slack]
        arms.sample(torch.cat(unclear), effort.round)
        rounds += 1


def settle(arms: Arms, which: Tensor, bar: Bar, *, effort: Effort, doubt: float, budget: int) -> Tensor:
    """Which of some rules reach the bar ``(B,)``, bool, sampled until that is clear."""
    while True:
        share, rows = arms.share[which], arms.rows[which]
        low, high = (bound(share, rows, -math.log(doubt)) for bound in (chernoff_lower, chernoff_upper))
        good = share >= bar.threshold
        unclear = torch.where(good, low <= bar.least, high >= bar.threshold + bar.tolerance)
        if not unclear.any() or arms.drawn >= budget:
            return good & (low > bar.least)
        arms.sample(which[unclear], effort.round)


def searched_rule(
    draw: Draw,
    implies: Tensor,
    *,
    coverage: Callable[[Tensor], Tensor],
    counted: Callable[[Tensor], tuple[Tensor, Tensor]],
    bar: Bar,
    effort: Effort,
) -> tuple[Tensor, Judged, int]:
    """The most general rule ``(P,)`` of a beam search with KL-LUCB, its figures from new samples, and the samples used.

    Ribeiro, Singh and Guestrin, 2018, doi:10.1609/aaai.v32i1.11491, algorithm 2; the empty rule is looked at first.
    The figures do not come from the samples that chose the rule: the most general of those that seemed good enough get
    a batch of new ones.

    Args:
        draw: gives samples.
        implies: whether one predicate makes another superfluous ``(P, P)``, bool, on the CPU.
        coverage: of rules ``(A, P)``: ``(A,)``.
        counted: rows and hits that are already there for rules ``(A, P)``: twice ``(A,)``, int64.
        bar: what a rule has to reach.
        effort: how much may be asked for.
    """
    doubt = (1 - bar.confidence) / (1 + (effort.beam - 1) * max(1, len(implies)))
    rules, used, best = torch.zeros(1, len(implies), dtype=torch.bool), 0, -1.0
    good: list[tuple[float, Tensor]] = []
    doubtful: list[tuple[float, Tensor]] = []
    for size in range(effort.max_size + 1):
        if size:
            rules, _ = grown(rules, implies)
            rules = rules[coverage(rules) > max(best, 0.0)]
        if not len(rules) or (size and used >= effort.budget):
            break
        arms = Arms(rules, draw, counted(rules))
        # what a size leaves is for the longer ones
        budget = (effort.budget - used) // (effort.max_size + 1 - size)
        kept = best_arms(arms, effort, doubt=1 - bar.confidence, budget=budget)
        passed = settle(arms, kept, bar, effort=effort, doubt=doubt, budget=arms.drawn + len(kept) * effort.fresh)
        used += arms.drawn
        rules = rules[kept]
        covers = coverage(rules).tolist()
        low = chernoff_lower(arms.share[kept], arms.rows[kept], -math.log(doubt)).tolist()
        for number, rule in enumerate(rules):
            if passed[number]:
                good.append((covers[number], rule))
            doubtful.append((low[number], rule))
        best = max([best, *(cover for cover, _ in good)])
    finalists = sorted(good or doubtful, key=lambda pair: -pair[0])[:FINALISTS]
    rule, judged = _confirmed(torch.stack([rule for _, rule in finalists]), draw, bar, effort.fresh)
    return rule, judged, used + len(finalists) * effort.fresh


def _confirmed(rules: Tensor, draw: Draw, bar: Bar, number: int) -> tuple[Tensor, Judged]:
    """The first of the rules that new samples confirm, or that of the best lower bound."""
    hits = draw(rules, number).tolist()
    judged = [bar.judged(h, number, tests=len(rules)) for h in hits]
    passed = [place for place, found in enumerate(judged) if found.valid]
    place = passed[0] if passed else max(range(len(rules)), key=lambda each: judged[each].lower)
    return rules[place], judged[place]
