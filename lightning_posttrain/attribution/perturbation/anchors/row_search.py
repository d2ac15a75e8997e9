"""The search for rules among the rows of a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lightning_posttrain.attribution.chunks import OutOfTimeError
from lightning_posttrain.attribution.perturbation.anchors.beam import first_of_each, hold_for
from lightning_posttrain.attribution.perturbation.anchors.bounds import Bar, Judged
from lightning_posttrain.attribution.perturbation.anchors.classes import Asked
from lightning_posttrain.attribution.perturbation.anchors.kl_lucb import Effort, searched_rule
from lightning_posttrain.attribution.perturbation.anchors.observed import observed_rule
from lightning_posttrain.attribution.perturbation.anchors.predicates import Predicates
from lightning_posttrain.attribution.perturbation.anchors.table import Table, row_keys
from lightning_posttrain.results import Rule

SEARCHED = 0.3
"""Share of the rows on which rules are searched for; the others confirm them."""
INTERVENED = 1000
"""Rows drawn for the precision under intervention."""
COMBINED = 200
"""Predicates of a sample that are combined to rules, at most."""


@dataclass(frozen=True, eq=False)
class RowRule:
    """A rule without its words.

    Args:
        rule: its figures.
        predicates: what its conditions are made of, ``P``.
        chosen: which of them it has ``(P,)``, bool.
        complete: whether the search came to its end.
    """

    rule: Rule
    predicates: Predicates
    chosen: Tensor
    complete: bool

    def written(self, names: Sequence[str], scale: tuple[Tensor, Tensor] | None) -> Rule:
        """The rule with its conditions."""
        return replace(self.rule, conditions=self.predicates.conditions(self.chosen, names, scale))


class RowSearch:
    """The rows of a table, the classes that a model gives for them, and rules from these.

    Args:
        asked: the model.
        rows: ``(N, F)``, float64, on the CPU; those that are equal count as one.
        predicted: the class of each ``(N,)``.
        bar: what a rule has to reach.
        generator: of random numbers, on the CPU.
        shared: rows that the model was asked for already, for all rules.
    """

    def __init__(
        self, asked: Asked, rows: Tensor, predicted: Tensor, *, bar: Bar, generator: torch.Generator, shared: int
    ) -> None:
        self.table = Table.of(rows)
        self._asked, self._predicted = asked, predicted
        self._bar, self._generator, self._shared = bar, generator, shared
        self._keys = row_keys(rows)
        different = first_of_each(self._keys)
        self._order = different[torch.randperm(len(different), generator=generator)]

    def observed(self, x: Tensor, predicates: Predicates, label: int, *, beam: int, max_size: int) -> RowRule:
        """The rule of a row ``(F,)`` from the rows as they are."""
        agree = self._predicted == label
        at = max(1, round(SEARCHED * len(self._order)))
        seen, fresh = (self._without(x, part) for part in (self._order[:at], self._order[at:]))
        predicates = predicates[:0] if self._asked.over else predicates.telling(seen, agree, COMBINED)
        hold = predicates.hold()
        chosen, judged = observed_rule(
            hold, agree, predicates.implies(), (seen, fresh), bar=self._bar, beam=beam, max_size=max_size,
            over=lambda: self._asked.over,
        )  # fmt: skip
        return self._found(predicates, chosen, judged, label=label, forwards=1, observed=True)

    def exact(self, x: Tensor, predicates: Predicates, label: int, *, beam: int, max_size: int) -> RowRule:
        """The rule of a row by KL-LUCB on rows drawn under intervention."""
        others, agree = self._without(x, self._order), self._predicted == label
        predicates = predicates.telling(others, agree, COMBINED)
        hold, before = predicates.hold(), self._asked.rows

        def draw(rules: Tensor, number: int) -> Tensor:
            classes = self._drawn(*predicates.ranges(rules), number)
            return (classes == label).sum(1)

        def coverage(rules: Tensor) -> Tensor:
            return hold_for(rules, hold).double().mean(1)

        def counted(rules: Tensor) -> tuple[Tensor, Tensor]:
            none = torch.zeros(len(rules), dtype=torch.int64)
            return none, none

        effort = Effort(beam=beam, max_size=max_size)
        try:
            chosen, judged, _ = searched_rule(
                draw, predicates.implies(), coverage=coverage, counted=counted, bar=self._bar, effort=effort
            )
        except OutOfTimeError:
            chosen = torch.zeros(len(predicates), dtype=torch.bool)
            judged = self._bar.judged(int(agree[others].sum()), len(others)).cut_short()
        used, observed = 1 + self._asked.rows - before, not judged.complete
        found = self._found(predicates, chosen, judged, label=label, forwards=used, observed=observed)
        if observed:
            return found
        return replace(found, rule=replace(found.rule, intervened=judged.precision, intervened_rows=judged.rows))

    def intervened(self, rules: list[Rule], found: list[RowRule]) -> tuple[Rule, ...]:
        """Rules with their precision under intervention, all from one batch; without, where the time was over."""
        if not rules:
            return ()
        ranges = [each.predicates.ranges(each.chosen[None]) for each in found]
        start, stop = (torch.cat(part) for part in zip(*ranges, strict=True))
        classes = self._drawn(start, stop, INTERVENED, partial=True)
        wanted = torch.tensor([rule.predicted for rule in rules[: len(classes)]])
        shares = (classes == wanted[:, None]).double().mean(1).tolist()
        asked = (
            replace(rule, intervened=share, intervened_rows=INTERVENED, forwards=rule.forwards + INTERVENED)
            for rule, share in zip(rules, shares, strict=False)
        )
        return (*asked, *rules[len(classes) :])

    def _drawn(self, start: Tensor, stop: Tensor, number: int, *, partial: bool = False) -> Tensor:
        """Classes of so many rows drawn for each rule ``(A, number)``; or for the first, where the time is over."""
        classes = self._asked.classes(
            len(start) * number,
            lambda rows: self.table.draw(start, stop, rows // number, self._generator),
            partial=partial,
        )
        done = len(classes) // number
        return classes[: done * number].view(done, number)

    def _without(self, x: Tensor, rows: Tensor) -> Tensor:
        """Numbers of rows that are not the row itself: they would confirm whatever is said of it."""
        return rows[self._keys[rows] != row_keys(x.cpu().double()[None])]

    def _found(
        self, predicates: Predicates, chosen: Tensor, judged: Judged, *, label: int, forwards: int, observed: bool
    ) -> RowRule:
        rule = Rule(
            (),
            predicted=label,
            precision=judged.precision,
            lower=judged.lower,
            rows=judged.rows,
            coverage=float(predicates[chosen].hold().all(1).double().mean()),
            base=float((self._predicted == label).double().mean()),
            valid=judged.valid,
            observed=observed,
            forwards=forwards + self._shared,
        )
        return RowRule(rule, predicates, chosen, judged.complete)
