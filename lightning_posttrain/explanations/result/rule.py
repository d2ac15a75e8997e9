"""Rules about a model, and the conditions that they are made of."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lightning_posttrain.core.output.restored import restored_fields
from lightning_posttrain.core.output.result import undefined_to_none


@dataclass(frozen=True)
class Condition:
    """One condition of a rule.

    Args:
        part: number of the column or part.
        name: its name.
        low: values above it satisfy the condition; or None.
        high: values up to it, or None.
        equal: the value itself, for a category; or None.
        missing: whether a missing value (NaN) satisfies it too; then ``low`` may be infinite: nothing else does.

    Example:
        >>> print(Condition(0, "radius", low=1.5), "·", Condition(0, "radius", 1.5, 2.0), "·", Condition(1, "'not'"))
        radius > 1.5 · 1.5 < radius ≤ 2 · 'not'
        >>> print(Condition(0, "year", high=2019.5, missing=True), "·", Condition(0, "code", equal=123456.0))
        year ≤ 2019.5 or missing · code = 123456
    """

    part: int
    name: str
    low: float | None = None
    high: float | None = None
    equal: float | None = None
    missing: bool = field(default=False, kw_only=True)

    def __str__(self) -> str:
        if math.inf in (self.low, self.high):
            return f"{self.name} is {'missing' if self.missing else 'known'}"
        return f"{self._known()} or missing" if self.missing else self._known()

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain data, with the words; ``"only_missing"`` where no known value satisfies it, or all do."""
        ends = (self.low, self.high)
        plain: dict[str, Any] = undefined_to_none(vars(self))
        return {**plain, "only_missing": self.missing if math.inf in ends else None, "words": str(self)}

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> Condition:
        """What ``to_dict`` gave."""
        ends = {None: {}, True: {"low": math.inf}, False: {"high": math.inf}}[state["only_missing"]]
        return restored_fields(cls, {**state, **ends})

    def _known(self) -> str:
        if self.equal is not None:
            return f"{self.name} = {bound(self.equal)}"
        if self.low is not None and self.high is not None:
            return f"{bound(self.low)} < {self.name} ≤ {bound(self.high)}"
        if self.low is not None:
            return f"{self.name} > {bound(self.low)}"
        return self.name if self.high is None else f"{self.name} ≤ {bound(self.high)}"


def bound(value: float) -> str:
    """A bound of a condition: in full up to 12 significant digits, as ``shortest`` makes them; else to 7 of them.

    Example:
        >>> bound(2019.5), bound(98051.25), bound(1600000000.5), bound(0.1 + 0.2), bound(1e-7)
        ('2019.5', '98051.25', '1600000000.5', '0.3', '1e-07')
    """
    size = abs(value)
    if size and not 1e-4 <= size < 1e15:
        return f"{value:.7g}"
    places = 0 if size == 0 else math.floor(math.log10(size))
    full, short = (f"{value:.{max(0, digits - 1 - places)}f}" for digits in (12, 7))
    text = full if float(full) == value else short
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if float(text) == 0 else text


def shortest(low: float, high: float) -> float:
    """The number with the fewest decimals in the middle half between two values, so that ``≤`` tells them apart.

    Of those with as many decimals, the one nearest to the middle. The quarters at the ends stay free for values that
    were rounded, as by a normalization.

    Args:
        low: a value for which ``low <= shortest(low, high)`` is to hold.
        high: a value above it, for which it is not.

    Raises:
        ValueError: ``low`` is not below ``high``, or one is not finite.

    Example:
        >>> shortest(2019, 2020), shortest(98051.03, 98062.7), shortest(0.1234, 0.1291), shortest(-0.7, 0.9)
        (2019.5, 98057.0, 0.126, 0.0)
    """
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(f"`low` is {low} and `high` {high}, wanted finite values, the first below the second.")
    middle, quarter = low / 2 + high / 2, high / 4 - low / 4
    first = -math.ceil(math.log10(max(abs(low), abs(high))))
    for decimals in range(first, first + 20):
        found = round(middle, decimals)
        if abs(found - middle) <= quarter and found < high:
            return found + 0.0
    return low


OFTEN = 0.6
"""The precision below which a rule that is not valid says nothing."""


@dataclass(frozen=True)
class Rule:
    """IF all conditions hold THEN the model gives the same class (Ribeiro, Singh and Guestrin, 2018, "Anchors").

    Where ``observed``, all figures are of the same rows, those of a whole table, and equal ones count each: so
    ``precision * coverage`` is the share of rows with both, conditions and class, and never above ``base``.

    Args:
        conditions: all of them hold for the sample; none where the model gives the class whatever comes. Where
            ``rows`` is 0, they are what is true of the sample, but of no row.
        predicted: index of the class.
        precision: share of the rows for which the conditions hold that get the class; NaN where there are none.
        lower: lower confidence bound of the precision, from rows that the search for the rule has not seen.
        rows: how many rows ``precision`` is from.
        coverage: share of all rows for which the conditions hold; of masks, for parts that are there or hidden.
        base: share of all rows that get the class.
        valid: whether ``precision`` reaches the wanted one, and ``lower`` is above that minus the tolerance; False
            where the time was over before the search was.
        observed: whether ``precision`` is of rows as they came; else of rows made by the perturbation.
        intervened: share that gets the class where other values are drawn anew and those of the conditions are kept; or
            None where that was not asked, or the time was over.
        intervened_rows: how many rows that is from.
        forwards: rows that the model was asked for, those shared with other rules as well.
        of_parts: whether a condition is a part that is there; else a range of a column.
        wanted: the precision that was asked for, or None where that is not known.
        draws: effective number of rows that ``lower`` is from, which copies and the sample itself add nothing to; or
            None where that is not known.
        different: how many of ``rows`` are different, or None where they were made.

    Raises:
        ValueError: figures that are said to be of the same rows cannot be.
    """

    conditions: tuple[Condition, ...]
    predicted: int
    precision: float
    lower: float
    rows: int
    coverage: float
    base: float
    valid: bool
    observed: bool
    intervened: float | None = None
    intervened_rows: int = 0
    forwards: int = 0
    of_parts: bool = False
    wanted: float | None = None
    draws: float | None = None
    different: int | None = None

    def __post_init__(self) -> None:
        both = self.precision * self.coverage
        if self.observed and both > self.base + 1e-9:
            raise ValueError(
                f"`precision` is {self.precision:g} and `coverage` {self.coverage:g}, so that {both:g} of all rows get "
                f"the class, wanted no more than `base`, {self.base:g}. Count all three on the same rows."
            )

    @property
    def unseen(self) -> bool:
        """Whether its conditions are true of the sample and of no row, so that nothing can be said of it."""
        return self.observed and not self.rows

    @property
    def found(self) -> bool:
        """Whether it says something: it is valid, or at least says more of the class than no rule, and often holds."""
        return self.valid or (self.lower > self.base and self.precision >= OFTEN)

    def __str__(self) -> str:
        return " AND ".join(map(str, self.conditions)) or "anything"

    def to_dict(self) -> dict[str, object]:
        """All of it as plain data."""
        conditions = [condition.to_dict() for condition in self.conditions]
        record: dict[str, object] = undefined_to_none({**vars(self), "conditions": conditions, "rule": str(self)})
        return record
