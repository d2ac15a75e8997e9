"""The search for rules among the rows of a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lightning_posttrain.attribution import OutOfTimeError
from lightning_posttrain.explanations.anchors.beam import hold_for
from lightning_posttrain.explanations.anchors.bounds import Bar, Judged
from lightning_posttrain.explanations.anchors.confirmation import evidence_of
from lightning_posttrain.explanations.anchors.kl_lucb import Effort, searched_rule
from lightning_posttrain.explanations.anchors.observed import Drawn, observed_rule
from lightning_posttrain.explanations.anchors.predicates import Predicates
from lightning_posttrain.explanations.anchors.predicted_classes import Asked
from lightning_posttrain.explanations.anchors.repeats import Repeats
from lightning_posttrain.explanations.anchors.table import Table
from lightning_posttrain.explanations.result.rule import Rule

SEARCHED = 0.25
"""Share of the draws on which rules are searched for; the others confirm them."""
DRAWING = 0.3
"""Share of the time that is left in which rows for the search may be drawn."""
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
        rows: ``(N, F)``, float64, on the CPU.
        predicted: the class of each ``(N,)``.
        bar: what a rule has to reach.
        generator: of random numbers, on the CPU.
        shared: rows that the model was asked for already, for all rules.
        categorical: which columns are categories ``(F,)``, bool; then they are discrete, as in ``Repeats``.
        drawn: rows to draw from those of the search, and to ask the model for.
    """

    def __init__(
        self,
        asked: Asked,
        rows: Tensor,
        predicted: Tensor,
        *,
        bar: Bar,
        generator: torch.Generator,
        shared: int,
        categorical: Tensor,
        drawn: int = 0,
    ) -> None:
        self.table = Table.of(rows)
        self._asked, self._predicted = asked, predicted
        self._bar, self._generator = bar, generator
        self._repeats = Repeats.of(rows, self.table, categorical)
        self._parts = self._repeats.split(SEARCHED, generator)
        self._source = self._drawn_from(self._parts[0], drawn)
        self._made = asked.classes(drawn, lambda n: rows.gather(0, self._source[n]), partial=True, share=DRAWING)
        self._shared = shared + len(self._made)

    def observed(self, x: Tensor, predicates: Predicates, label: int, *, beam: int, max_size: int) -> RowRule:
        """The rule of a row ``(F,)`` from the rows as they are."""
        agree = self._predicted == label
        parts = self._repeats.without(x, self._parts)
        predicates = predicates[:0] if self._asked.over else predicates.telling(parts[0], agree, COMBINED)
        hold = predicates.hold()
        chosen, judged = observed_rule(
            hold, agree, predicates.implies(), parts, bar=self._bar, beam=beam, max_size=max_size,
            over=lambda: self._asked.over, drawn=self._drawn_of(predicates, hold, label), draw=self._repeats.draw,
        )  # fmt: skip
        return self._found(predicates, chosen, judged, label=label, forwards=1, observed=True)

    def exact(self, x: Tensor, predicates: Predicates, label: int, *, beam: int, max_size: int) -> RowRule:
        """The rule of a row by KL-LUCB on rows drawn under intervention."""
        if self._repeats.same:
            return self.observed(x, predicates, label, beam=beam, max_size=max_size)
        others, agree = torch.cat(self._repeats.without(x, self._parts)), self._predicted == label
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
            (evidence,) = evidence_of(chosen[None], hold, agree, others, self._repeats.draw)
            judged = evidence.judged(self._bar).cut_short()
        used, observed = 1 + self._asked.rows - before, not judged.complete
        found = self._found(predicates, chosen, judged, label=label, forwards=used, observed=observed)
        if observed:
            return found
        return replace(found, rule=replace(found.rule, intervened=judged.precision, intervened_rows=judged.rows))

    def intervened(self, rules: Sequence[Rule], found: list[RowRule]) -> tuple[Rule, ...]:
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

    def _drawn_from(self, rows: Tensor, number: int) -> Tensor:
        """The rows that so many new ones get the value of each column from: one, and others for half of the columns."""
        columns, generator = self.table.place.shape[1], self._generator
        one, other = (
            rows[(torch.rand(number, width, generator=generator, dtype=torch.float64) * len(rows)).long()]
            for width in (1, columns)
        )
        return torch.where(torch.rand(number, columns, generator=generator) < 0.5, other, one)

    def _drawn_of(self, predicates: Predicates, hold: Tensor, label: int) -> Drawn:
        """What holds for the rows that were drawn: of each value the same as for the row that it is from."""
        source = self._source[: len(self._made), predicates.column]
        return Drawn(hold.gather(0, source), self._made == label)

    def _found(
        self, predicates: Predicates, chosen: Tensor, judged: Judged, *, label: int, forwards: int, observed: bool
    ) -> RowRule:
        held = predicates[chosen].hold().all(1)
        rule = Rule(
            (),
            predicted=label,
            precision=judged.precision,
            lower=judged.lower,
            rows=judged.rows,
            coverage=int(held.sum()) / len(held),
            base=int((self._predicted == label).sum()) / len(held),
            valid=judged.valid,
            observed=observed,
            forwards=forwards + self._shared,
            draws=judged.draws,
            different=self._repeats.different(held) if observed else None,
        )
        return RowRule(rule, predicates, chosen, judged.complete)
