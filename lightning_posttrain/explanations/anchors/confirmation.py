"""What the rows of a table say of rules, and which of these they confirm."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from lightning_posttrain.explanations.anchors.beam import hold_for
from lightning_posttrain.explanations.anchors.bounds import Bar, Judged, lower_bound


@dataclass(frozen=True)
class Evidence:
    """What the rows of a table say of a rule, and those of them that its search has not seen: the new ones.

    Args:
        rows: for which it holds, new or not.
        hits: those of them that get the class.
        new: new rows for which it holds.
        right: those of them that get the class.
        squares: of the draws that these are from, the sum of the squares of how many rows each gives.
    """

    rows: int
    hits: int
    new: int
    right: int
    squares: int

    @property
    def draws(self) -> float:
        r"""The effective number of the new rows.

        It is :math:`(\sum_k m_k)^2 / \sum_k m_k^2`, where draw ``k`` comes ``m_k`` times (Kish, 1965, "Survey
        Sampling"): their number where none is repeated, and that of the draws where all are repeated as often.
        """
        return self.new * (self.new / self.squares) if self.squares else 0.0

    def judged(self, bar: Bar, *, tests: int = 1) -> Judged:
        r"""What is to be said of the rule: its precision over all rows, and what is sure of that.

        The share :math:`p` of the new rows has the lower bound :math:`l` of Clopper and Pearson, with the effective
        number in place of theirs (Korn and Graubard, 1998, Survey Methodology 24, 193-201). What the search has seen
        must not make that better, but may make it worse: the bound of the precision :math:`P` is
        :math:`\min(l, P - (p - l) \, new / rows)`.

        Args:
            bar: what a rule has to reach.
            tests: the doubt is shared among so many tests (Bonferroni).
        """
        if not self.new:
            return Judged(self.hits / self.rows if self.rows else 0.0, 0.0, self.rows, valid=False, draws=0.0)
        precision, share = self.hits / self.rows, self.right / self.new
        new = lower_bound(share * self.draws, self.draws, confidence=1 - (1 - bar.confidence) / tests)
        lower = max(0.0, min(new, precision - (share - new) * self.new / self.rows))
        valid = precision >= bar.threshold and share >= bar.threshold and lower > bar.least
        return Judged(precision, lower, self.rows, valid, draws=self.draws)


def evidence_of(rules: Tensor, hold: Tensor, agree: Tensor, new: Tensor, draw: Tensor) -> list[Evidence]:
    """What rows say of each rule.

    Args:
        rules: ``(A, P)``, bool.
        hold: which predicates hold for which row ``(N, P)``, bool.
        agree: which rows get the class ``(N,)``, bool.
        new: numbers of the rows that the search has not seen, with all of a draw or none.
        draw: number of the draw that each row is from ``(N,)``, int64.
    """
    every = hold_for(rules, hold)
    inside, copies = every[:, new], draw.bincount()[draw][new]
    counts = (every.sum(1), (every & agree).sum(1), inside.sum(1), (inside & agree[new]).sum(1))
    squares = (inside * copies).sum(1)
    return [Evidence(*each) for each in zip(*(part.tolist() for part in (*counts, squares)), strict=True)]


def confirmed(evidence: list[Evidence], bar: Bar) -> tuple[int, Judged]:
    """The last rule before the first that fails; or of those that fail the one with the highest lower bound."""
    alone = [each.judged(bar) for each in evidence]
    passed = next((place for place, judged in enumerate(alone) if not judged.valid), len(alone))
    if passed:
        return passed - 1, alone[passed - 1]
    every = [each.judged(bar, tests=len(evidence)) for each in evidence]
    # one that would pass only after the first has failed must not: it would have had a second chance
    best = max((place for place, each in enumerate(every) if not each.valid), key=lambda place: every[place].lower)
    return best, every[best]
