"""Rules about parts that are there, from one pool of masks and a few new ones."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from lightning_posttrain.explanations.anchors.beam import grown, hold_for, without_one
from lightning_posttrain.explanations.anchors.bounds import Bar, Judged
from lightning_posttrain.explanations.anchors.kl_lucb import Draw

FRESH = 128
"""New masks that confirm a rule."""
TESTS = 3
"""Rules of one size that get new masks, at most."""
FEWEST = 8
"""Masks of the pool with all parts of a rule, below which it is not looked at."""


class PoolSearch:
    """The search for one sample's rule.

    Where each part is there or not by a coin of its own, the masks of a pool that have all parts of a rule are what the
    paper would draw for that rule. So one pool scores all rules of all sizes, and only those that look good are asked
    for again: what was the best of many by chance does not pass.

    Args:
        present: masks of the pool ``(n, M)``, bool, on the CPU.
        agree: for which of them the model gives the class ``(n,)``, bool.
        whole: the pool has each mask there is, once: its shares are exact, and nothing new is asked for.
        draw: gives new masks.
        bar: what a rule has to reach.
    """

    def __init__(self, present: Tensor, agree: Tensor, *, whole: bool, draw: Draw, bar: Bar) -> None:
        self._present, self._agree, self._whole = present, agree, whole
        self._draw, self._bar = draw, bar
        self._tests: dict[tuple[int, ...], tuple[Tensor, Judged]] = {}

    @property
    def parts(self) -> int:
        """How many parts the sample has."""
        return self._present.shape[1]

    def counts(self, rules: Tensor) -> tuple[Tensor, Tensor]:
        """Masks of the pool with all parts of rules ``(A, M)``, and those of them with the class: twice ``(A,)``."""
        inside = hold_for(rules, self._present)
        return inside.sum(1), (inside & self._agree).sum(1)

    def find(self, *, beam: int, max_size: int) -> tuple[Tensor, Judged]:
        """The shortest rule ``(M,)`` that passes, without what it does not need; or the best of those that failed.

        Args:
            beam: how many rules of a size grow.
            max_size: parts at most.
        """
        count = self.parts
        rules, alone = torch.zeros(1, count, dtype=torch.bool), torch.zeros(count, count, dtype=torch.bool)
        best, share = rules[0], -1.0
        for size in range(min(max_size, count) + 1):
            rules, shares = self._ranked(grown(rules, alone)[0] if size else rules)
            for rule, judged in self._tested(rules, shares):
                if judged.valid:
                    return self._pruned(rule, judged)
            if not len(rules):
                break
            best, share = max((best, share), (rules[0], float(shares[0])), key=lambda pair: pair[1])
            rules = rules[:beam]
        if not self._tests:
            self._test(best)
        return max(self._tests.values(), key=lambda pair: pair[1].lower)

    def _ranked(self, rules: Tensor) -> tuple[Tensor, Tensor]:
        """Rules ``(A, M)`` with masks enough, the most precise first, and their precision in the pool ``(A,)``."""
        rows, hits = self.counts(rules)
        rules, rows, hits = (each[rows >= (1 if self._whole else FEWEST)] for each in (rules, rows, hits))
        shares = hits.double() / rows if self._whole else (hits.double() + 0.7) / (rows + 0.8)
        order = shares.argsort(descending=True, stable=True)
        return rules[order], shares[order]

    def _tested(self, rules: Tensor, shares: Tensor) -> Iterator[tuple[Tensor, Judged]]:
        """The first of these rules that look good, with what the test says of each."""
        for rule in rules[shares > self._bar.least][:TESTS]:
            yield rule, self._test(rule)

    def _test(self, rule: Tensor) -> Judged:
        """What new masks say of a rule ``(M,)``; each further test has less of the doubt: 1/2, 1/6, 1/12 of it."""
        key = tuple(rule.nonzero()[:, 0].tolist())
        if key not in self._tests:
            number = len(self._tests) + 1
            if self._whole:
                rows, hits = (int(count) for count in self.counts(rule[None]))
                share = hits / rows
                judged = Judged(share, share, rows, share >= self._bar.threshold, draws=rows)
            else:
                judged = self._bar.judged(int(self._draw(rule[None], FRESH)), FRESH, tests=number * (number + 1))
            self._tests[key] = rule, judged
        return self._tests[key][1]

    def _pruned(self, rule: Tensor, judged: Judged) -> tuple[Tensor, Judged]:
        """A rule that passed, or a shorter part of it that passes too."""
        while rule.any():
            shorter = next((each for each in self._tested(*self._ranked(without_one(rule))) if each[1].valid), None)
            if shorter is None:
                break
            rule, judged = shorter
        return rule, judged
