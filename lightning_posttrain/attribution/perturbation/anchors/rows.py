"""Anchors of the rows of a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lightning_posttrain.attribution.chunks import Chunks
from lightning_posttrain.attribution.perturbation.anchors.beam import hold_for
from lightning_posttrain.attribution.perturbation.anchors.bounds import Bar, Judged
from lightning_posttrain.attribution.perturbation.anchors.classes import Asked
from lightning_posttrain.attribution.perturbation.anchors.kl_lucb import Effort, searched_rule
from lightning_posttrain.attribution.perturbation.anchors.observed import observed_rule
from lightning_posttrain.attribution.perturbation.anchors.predicates import Predicates, predicates_of
from lightning_posttrain.attribution.perturbation.anchors.table import Table, cuts_of
from lightning_posttrain.attribution.perturbation.game import Forward
from lightning_posttrain.results import Rule

SEARCHED = 0.3
"""Share of the rows on which rules are searched for; the others confirm them."""
INTERVENED = 1000
"""Rows drawn for the precision under intervention."""


def anchor_of_rows(  # noqa: PLR0913 - all by keyword
    forward: Forward,
    inputs: Tensor,
    rows: Tensor,
    *,
    predicted: Tensor | None = None,
    threshold: float = 0.95,
    tolerance: float = 0.05,
    confidence: float = 0.95,
    bins: int = 4,
    categorical: Sequence[int] = (),
    names: Sequence[str] = (),
    scale: tuple[Tensor, Tensor] | None = None,
    exact: bool = False,
    max_size: int = 6,
    beam: int | None = None,
    seed: int = 0,
    chunk: int | Chunks = 4096,
) -> tuple[Rule, ...]:
    """For each of some rows of a table, a rule under which the model gives the class of that row.

    Read: where the conditions hold, the model gives the same class, in at least ``lower`` of the cases. Of the rules
    that are sure enough, it is the one that holds for the most rows
    (Ribeiro, Singh and Guestrin, 2018, doi:10.1609/aaai.v32i1.11491).

    By default rules come from ``rows`` as they are: searched for on some of them, confirmed on the others. So
    ``precision``, ``lower`` and ``rows`` of a rule are of rows that its search has not seen. With few rows there may
    be no rule that is sure enough: 29 without a miss have to confirm it. Beside that, ``intervened`` says how often the
    class stays where the columns without a condition, and no others, are drawn anew. Where it is far lower, the
    conditions go together with something else that the model looks at.

    Args:
        forward: the model: rows ``(n, F)`` to outputs ``(n, C)``, the largest of which is the class.
        inputs: rows to explain ``(K, F)``.
        rows: rows like those that the rules are to hold for, as of the validation data ``(N, F)``; NaN is a missing
            value, which satisfies no condition. A row to explain may be among them; its own rule leaves it out.
        predicted: the class that the model gives for each of ``rows`` ``(N,)``; else it is asked.
        threshold: wanted precision.
        tolerance: how much less it may be in truth.
        confidence: how sure that has to be, for each rule.
        bins: columns are cut into so many parts of as many rows.
        categorical: columns whose values have no order.
        names: of the columns; else ``column 0`` and so on.
        scale: mean and standard deviation of each column, each ``(F,)``, that undo a normalization where cuts are
            written.
        exact: search by the paper's KL-LUCB, on rows drawn under intervention: many forwards.
        max_size: conditions at most; the two ends of an interval count as two.
        beam: rules of a size that grow. Default: 10, or 4 where ``exact``.
        seed: of random numbers, from a generator of its own.
        chunk: rows at a time; or also how long.

    Raises:
        ValueError: shapes do not go together, an output is NaN, or an argument is out of its range.
        OutOfTimeError: the time of ``chunk`` is over.

    Example:
        >>> rows = torch.arange(1000.0)[:, None] % torch.tensor([1000, 7])
        >>> model = lambda x: torch.stack([499 - x[:, 0], x[:, 0] - 499], 1)
        >>> rule = anchor_of_rows(model, torch.tensor([[900.0, 3.0]]), rows, names=["size", "hue"])[0]
        >>> print(rule, rule.precision, rule.valid)
        size > 499 1.0 True
    """
    _check_table(inputs, rows, predicted)
    _check_options(rows.shape[1], bins=bins, max_size=max_size, beam=beam, categorical=categorical)
    names = names or [f"column {number}" for number in range(rows.shape[1])]
    _check_columns(rows.shape[1], names, scale)
    chunks = chunk if isinstance(chunk, Chunks) else Chunks(chunk)
    asked = Asked(forward, inputs, chunks)
    wanted = asked.classes(len(inputs), lambda numbers: inputs[numbers.to(inputs.device)])
    if predicted is None:
        predicted = asked.classes(len(rows), lambda numbers: rows[numbers.to(rows.device)])
    search = _Search(
        asked,
        rows.cpu().double(),
        predicted.cpu(),
        bar=Bar(threshold, tolerance, confidence),
        generator=torch.Generator().manual_seed(seed),
        shared=asked.rows - len(inputs),
    )
    is_category = torch.zeros(rows.shape[1], dtype=torch.bool)
    is_category[list(categorical)] = True
    cuts = cuts_of(search.table, bins)
    samples = [predicates_of(x, search.table, cuts, is_category) for x in inputs.cpu().double()]
    one = search.exact if exact else search.observed
    options = {"beam": beam or (4 if exact else 10), "max_size": max_size}
    found = [one(x, each, int(label), **options) for x, each, label in zip(inputs, samples, wanted, strict=True)]
    written = [
        replace(each.rule, conditions=sample.conditions(each.chosen, names, scale))
        for each, sample in zip(found, samples, strict=True)
    ]
    return tuple(written) if exact else search.intervened(written, samples, [each.chosen for each in found])


@dataclass(frozen=True, eq=False)
class _Found:
    """A rule without its words, and which predicates it has ``(P,)``."""

    rule: Rule
    chosen: Tensor


class _Search:
    """The rows of a table, the classes that a model gives for them, and rules from these."""

    def __init__(
        self, asked: Asked, rows: Tensor, predicted: Tensor, *, bar: Bar, generator: torch.Generator, shared: int
    ) -> None:
        self.table = Table.of(rows)
        self._asked, self._rows, self._predicted = asked, rows, predicted
        self._bar, self._generator, self._shared = bar, generator, shared
        self._order = torch.randperm(len(rows), generator=generator)

    def observed(self, x: Tensor, predicates: Predicates, label: int, *, beam: int, max_size: int) -> _Found:
        """The rule of a row ``(F,)`` from the rows as they are."""
        hold, agree = predicates.hold(), self._predicted == label
        at = max(1, round(SEARCHED * len(self._rows)))
        own = self._own(x)
        seen, fresh = (part[part != own] for part in (self._order[:at], self._order[at:]))
        chosen, judged = observed_rule(
            hold, agree, predicates.implies(), (seen, fresh), bar=self._bar, beam=beam, max_size=max_size
        )
        return self._found(hold, chosen, judged, label=label, forwards=1, observed=True)

    def exact(self, x: Tensor, predicates: Predicates, label: int, *, beam: int, max_size: int) -> _Found:  # noqa: ARG002
        """The rule of a row by KL-LUCB on rows drawn under intervention."""
        hold = predicates.hold()

        def draw(rules: Tensor, number: int) -> Tensor:
            classes = self._drawn(*predicates.ranges(rules), number)
            return (classes == label).sum(1)

        def coverage(rules: Tensor) -> Tensor:
            return hold_for(rules, hold).double().mean(1)

        def counted(rules: Tensor) -> tuple[Tensor, Tensor]:
            none = torch.zeros(len(rules), dtype=torch.int64)
            return none, none

        effort = Effort(beam=beam, max_size=max_size)
        chosen, judged, used = searched_rule(
            draw, predicates.implies(), coverage=coverage, counted=counted, bar=self._bar, effort=effort
        )
        found = self._found(hold, chosen, judged, label=label, forwards=1 + used, observed=False)
        rule = replace(found.rule, intervened=judged.precision, intervened_rows=judged.rows)
        return _Found(rule, chosen)

    def intervened(self, rules: list[Rule], samples: list[Predicates], chosen: list[Tensor]) -> tuple[Rule, ...]:
        """Rules with their precision under intervention, all from one batch."""
        if not rules:
            return ()
        ranges = [each.ranges(rule[None]) for each, rule in zip(samples, chosen, strict=True)]
        start, stop = (torch.cat(part) for part in zip(*ranges, strict=True))
        agree = self._drawn(start, stop, INTERVENED) == torch.tensor([rule.predicted for rule in rules])[:, None]
        return tuple(
            replace(rule, intervened=share, intervened_rows=INTERVENED, forwards=rule.forwards + INTERVENED)
            for rule, share in zip(rules, agree.double().mean(1).tolist(), strict=True)
        )

    def _drawn(self, start: Tensor, stop: Tensor, number: int) -> Tensor:
        """Classes of so many rows drawn for each rule ``(A, number)``."""
        classes = self._asked.classes(
            len(start) * number, lambda rows: self.table.draw(start, stop, rows // number, self._generator)
        )
        return classes.view(len(start), number)

    def _own(self, x: Tensor) -> int:
        """Where one row of the table is the row itself, or -1: as one row it would confirm whatever is said of it."""
        x = x.cpu().double()
        same = ((self._rows == x) | (self._rows.isnan() & x.isnan())).all(1).nonzero()
        return int(same[0]) if len(same) else -1

    def _found(
        self, hold: Tensor, chosen: Tensor, judged: Judged, *, label: int, forwards: int, observed: bool
    ) -> _Found:
        rule = Rule(
            (),
            predicted=label,
            precision=judged.precision,
            lower=judged.lower,
            rows=judged.rows,
            coverage=float(hold_for(chosen[None], hold).double().mean()),
            base=float((self._predicted == label).double().mean()),
            valid=judged.valid,
            observed=observed,
            forwards=forwards + self._shared,
        )
        return _Found(rule, chosen)


def _check_table(inputs: Tensor, rows: Tensor, predicted: Tensor | None) -> None:
    if rows.ndim != 2 or not len(rows):
        raise ValueError(f"`rows` is {tuple(rows.shape)}, wanted (N, F) with a row or more. Pass those of validation.")
    if inputs.ndim != 2 or inputs.shape[1] != rows.shape[1]:
        raise ValueError(
            f"`inputs` is {tuple(inputs.shape)}, wanted (K, {rows.shape[1]}) as `rows` {tuple(rows.shape)}. "
            "Pass one row as x[None]."
        )
    if predicted is not None and (predicted.shape != rows.shape[:1] or predicted.is_floating_point()):
        raise ValueError(
            f"`predicted` is {predicted.dtype} {tuple(predicted.shape)}, wanted the index of a class for each of "
            f"{len(rows)} rows. Pass outputs.argmax(1)."
        )


def _check_options(columns: int, *, bins: int, max_size: int, beam: int | None, categorical: Sequence[int]) -> None:
    for name, value, least in (("bins", bins, 2), ("max_size", max_size, 1), ("beam", 1 if beam is None else beam, 1)):
        if value < least:
            raise ValueError(f"`{name}` is {value}, wanted {least} or more. Leave it out for the default.")
    wrong = [number for number in categorical if not 0 <= number < columns]
    if wrong:
        raise ValueError(f"`categorical` has {wrong}, wanted numbers of columns, 0 to {columns - 1}.")


def _check_columns(columns: int, names: Sequence[str], scale: tuple[Tensor, Tensor] | None) -> None:
    if len(names) != columns:
        raise ValueError(f"`names` has {len(names)}, wanted one for each of {columns} columns.")
    if scale is not None and any(part.shape != (columns,) for part in scale):
        shapes = [tuple(part.shape) for part in scale]
        raise ValueError(f"`scale` is {shapes}, wanted mean and standard deviation of {columns} columns, each (F,).")
