"""A shallow tree that imitates a model, and how much the model relies on each feature."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from lightning_posttrain.core.output.restored import restored_fields
from lightning_posttrain.core.output.result import Counted, undefined_to_none
from lightning_posttrain.explanations.result.rule import Condition


@dataclass(frozen=True)
class Branch:
    """A node of a decision tree, in the order in which one reads it, each before its children, left first.

    Args:
        depth: 0 for the root.
        condition: what leads to it, or None for the root; ``x ≤ 3`` to the left child, ``x > 3`` to the right.
        leaf: whether it decides.
        predicted: name of the class that it stands for.
        rows: held-out rows that come to it.
        agreement: share of these for which the model gives that class; NaN without rows.
    """

    depth: int
    condition: Condition | None
    leaf: bool
    predicted: str
    rows: int
    agreement: float

    @property
    def otherwise(self) -> bool:
        """Whether it is the second child, which holds where the first does not."""
        return self.condition is not None and self.condition.low is not None

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain data, the condition in words."""
        words, bounds = (None, None) if self.condition is None else (str(self.condition), self.condition.to_dict())
        record: dict[str, Any] = undefined_to_none({**vars(self), "condition": words, "bounds": bounds})
        return record

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> Branch:
        """What ``to_dict`` gave."""
        return restored_fields(cls, {**state, "condition": state["bounds"]})


FAITHFUL = 0.6
"""Share of held-out rows below which a tree speaks for too little of a model."""


@dataclass(frozen=True)
class Drop:
    """How much worse a model is where a feature's values are those of other rows.

    Args:
        name: of the feature.
        loss: mean increase of the log loss, in nats.
        low: lower end of its 95 % interval.
        high: upper end of its 95 % interval.
        accuracy: mean decrease of the accuracy, as a share of the rows; below 0 where it increases.
    """

    name: str
    loss: float
    low: float
    high: float
    accuracy: float


@dataclass(frozen=True, eq=False)
class SurrogateReport(Counted):
    """A shallow decision tree that imitates a model, and how much the model relies on each feature.

    Args:
        branches: of the tree, each before its children.
        class_names: of the model's classes.
        fidelity: share of held-out rows for which the tree gives the model's class.
        fidelity_low: lower end of its 95 % interval.
        fidelity_high: upper end of its 95 % interval.
        majority: share of held-out rows that the most frequent class alone would give.
        majority_class: name of that class.
        fitted_rows: rows that the tree was fitted to.
        held_out_rows: rows that it was judged on.
        drops: of each feature, the largest first; none where the model was not asked.
        drop_rows: rows that the drops are from.
        remarks: sentences on how it was made.
    """

    recorded_as: ClassVar[str] = "surrogate"

    branches: tuple[Branch, ...]
    class_names: tuple[str, ...]
    fidelity: float
    fidelity_low: float
    fidelity_high: float
    majority: float
    majority_class: str
    fitted_rows: int
    held_out_rows: int
    drops: tuple[Drop, ...] = ()
    drop_rows: int = 0
    remarks: tuple[str, ...] = ()

    @property
    def questions(self) -> int:
        """How many conditions the tree asks for."""
        return sum(not branch.leaf for branch in self.branches)

    @property
    def refused(self) -> str:
        """Why the tree should not be read: it says no more than one class does, or too little; "" where it may."""
        if not self.questions or self.fidelity_low <= self.majority:
            return f'the tree says no more of the model than "always {self.majority_class}" does; do not read it'
        if self.fidelity < FAITHFUL:
            return f"the tree gives the model's class for only {self.fidelity:.0%} of the rows; do not read it"
        return ""

    @property
    def notes(self) -> tuple[str, ...]:
        """Why the tree should not be read, and how it was made."""
        return (*filter(None, [self.refused]), *self.remarks)

    def scalars(self) -> dict[str, float]:
        """The fidelity."""
        return {"fidelity": self.fidelity}

    def to_dict(self) -> dict[str, Any]:
        """All figures, each branch and each drop as a dict."""
        nested = {
            "branches": [branch.to_dict() for branch in self.branches],
            "drops": [undefined_to_none(vars(drop)) for drop in self.drops],
        }
        return {**super().to_dict(), **nested, "notes": list(self.notes)}
