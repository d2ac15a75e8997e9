"""What perturbed inputs say of a model: weights and Shapley values of parts, rules, importance."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from torch import Tensor

from lightning_posttrain.core.output.result import Counted, undefined_to_none


@dataclass(frozen=True, eq=False)
class LimeWeights(Counted):
    """A linear model around each sample (Ribeiro, Singh and Guestrin, 2016, arXiv:1602.04938).

    Args:
        values: weight of each part ``(K, M)``, in units of the output: what its presence adds nearby.
        errors: standard error of each ``(K, M)``.
        intercept: of the linear model ``(K,)``.
        local: what it gives for the sample ``(K,)``.
        output: what the model gives ``(K,)``.
        fit: share of the weighted variance that it explains ``(K,)``, R²; 1 is best.
        spread: how much the weights of another seed would differ, as a share of their length ``(K,)``; 0 is best.
        forwards: rows that the model was asked for.
    """

    values: Tensor
    errors: Tensor
    intercept: Tensor
    local: Tensor
    output: Tensor
    fit: Tensor
    spread: Tensor
    forwards: int


@dataclass(frozen=True, eq=False)
class ShapleyValues(Counted):
    """Shapley values of the parts of samples (Shapley, 1953; Lundberg and Lee, 2017, arXiv:1705.07874).

    Float64 on the CPU; where several outputs of a sample are explained, all have a second dimension ``Q`` for these.

    Args:
        values: of each part ``(K, M)``, in units of the output.
        errors: standard error of each ``(K, M)``; zeros where they are exact, NaN where fewer than 4 draws cannot tell.
        base: mean output where all parts are hidden ``(K,)``.
        output: what the model gives for the sample ``(K,)``.
        gap: what ``base`` and the values leave out of the output ``(K,)``: rounding errors.
        method: ``"exact"``, ``"kernel"`` or ``"permutation"``.
        forwards: rows that the model was asked for.
    """

    values: Tensor
    errors: Tensor
    base: Tensor
    output: Tensor
    gap: Tensor
    method: str
    forwards: int


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

    Args:
        conditions: all of them hold for the sample; none where the model gives the class whatever comes.
        predicted: index of the class.
        precision: share of the rows for which the conditions hold that get the class.
        lower: lower confidence bound of the precision.
        rows: how many rows ``precision`` and ``lower`` are from, none of which the search for the rule has seen; rows
            of a table that are equal count as one.
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

    @property
    def found(self) -> bool:
        """Whether it says something: it is valid, or at least says more of the class than no rule, and often holds."""
        return self.valid or (self.lower > self.base and self.precision >= OFTEN)

    def __str__(self) -> str:
        return " AND ".join(map(str, self.conditions)) or "anything"

    def to_dict(self) -> dict[str, object]:
        """All of it as plain data."""
        conditions = [vars(condition).copy() for condition in self.conditions]
        record: dict[str, object] = undefined_to_none({**vars(self), "conditions": conditions, "rule": str(self)})
        return record


@dataclass(frozen=True, eq=False)
class Importance(Counted):
    """Shapley values of many rows.

    Args:
        names: of the ``F`` features.
        class_names: of the ``C`` explained classes, or one name for another output.
        values: ``(C, N, F)`` float32, in units of the output.
        shown: the features' values ``(N, F)``.
        method: how they were worked out: ``"exact"``, ``"kernel"`` or ``"permutation"``.
        background: rows that stood for hidden features.
        unit: of the output: ``"probability"``, ``"logit"``, or ``"output"`` for one without a class.
        classes: number of each of the ``C`` classes among all of the model's; empty for 0 to ``C - 1``.
    """

    names: tuple[str, ...]
    class_names: tuple[str, ...]
    values: Tensor
    shown: Tensor
    method: str
    background: int
    unit: str = "probability"
    classes: tuple[int, ...] = ()
