"""What a threshold is chosen for."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from lightning_posttrain.classification import ClassCounts, class_figures, f_name

Kind = Literal["f_beta", "youden", "recall_at_precision", "precision_at_recall", "cost"]
Costs = tuple[tuple[float, float], tuple[float, float]]
ERRORS: Costs = ((0.0, 1.0), (1.0, 0.0))
CONSTRAINED = {"recall_at_precision": ("recall", "precision"), "precision_at_recall": ("precision", "recall")}
"""The figure that is made large, and the one that must not be below ``at``."""


@dataclass(frozen=True)
class Objective:
    """What a threshold is chosen for.

    Args:
        kind: ``"f_beta"``; ``"youden"``, recall + specificity - 1 (Youden, 1950,
            doi:10.1002/1097-0142(1950)3:1<32::AID-CNCR2820030106>3.0.CO;2-3); ``"recall_at_precision"``, the largest
            recall whose precision is ``at`` or more; ``"precision_at_recall"``; ``"cost"``, the mean cost of a row.
        beta: weight of recall in F-beta.
        at: what the constrained figure must reach, above 0 and up to 1.
        costs: ``costs[actual][predicted]`` with 0 for not there and 1 for there, as ``((0, 1), (5, 0))`` if what is
            missed costs five times a false alarm.

    Example:
        >>> Objective("recall_at_precision", at=0.9).text
        'recall at precision ≥ 0.9'
    """

    kind: Kind = "f_beta"
    beta: float = 1.0
    at: float | None = None
    costs: Costs | None = None

    def check(self) -> None:
        """Raise a ``ValueError`` that says what does not fit together."""
        if self.kind not in get_args(Kind):
            raise ValueError(f"`kind` is {self.kind!r}, wanted one of {', '.join(map(repr, get_args(Kind)))}.")
        if not (math.isfinite(self.beta) and self.beta > 0):
            raise ValueError(f"`beta` is {self.beta!r}, wanted a number above 0; 1 weighs precision and recall alike.")
        if self.kind in CONSTRAINED:
            if self.at is None or not 0 < self.at <= 1:
                raise ValueError(f"`at` is {self.at!r}, but {self.kind!r} wants one above 0 and up to 1, as 0.9.")
        elif self.at is not None:
            kinds = " or ".join(map(repr, CONSTRAINED))
            raise ValueError(f"`at` is {self.at!r}, but {self.kind!r} has no use for it; leave it out or take {kinds}.")
        self._check_costs()

    def _check_costs(self) -> None:
        if self.kind != "cost":
            if self.costs is not None:
                raise ValueError(f"`costs` are given, but {self.kind!r} has no use for them: take kind 'cost'.")
            return
        wanted = "wanted ((right, false alarm), (missed, found)) in numbers, as ((0, 1), (5, 0))"
        table = self.costs
        if table is None or len(table) != 2 or any(len(row) != 2 for row in table):
            raise ValueError(f"`costs` is {table!r}, {wanted}.")
        if not all(math.isfinite(cost) for row in table for cost in row):
            raise ValueError(f"`costs` is {table!r}, with a cost that is no finite number; {wanted}.")
        if table[0][0] >= table[0][1] or table[1][1] >= table[1][0]:
            raise ValueError(f"`costs` is {table!r}, where an error costs no more than what is right; {wanted}.")

    @property
    def name(self) -> str:
        """A short name for tags, as ``"f1"``."""
        return f_name(self.beta) if self.kind == "f_beta" else self.kind

    @property
    def text(self) -> str:
        """What people call it, as ``"F1"``."""
        if self.kind in CONSTRAINED:
            return f"{CONSTRAINED[self.kind][0]} at {self.constraint}"
        return {"f_beta": f"F{self.beta:g}", "youden": "Youden's J"}.get(self.kind, self.kind)

    @property
    def constraint(self) -> str:
        """What must hold, as ``"precision ≥ 0.9"``; empty where nothing must."""
        return f"{CONSTRAINED[self.kind][1]} ≥ {self.at:g}" if self.kind in CONSTRAINED else ""

    @property
    def sign(self) -> int:
        """1 where more is better, -1 for a cost."""
        return -1 if self.kind == "cost" else 1


def figures(counts: ClassCounts, objective: Objective) -> dict[str, Tensor]:
    """The figures of an ``Operating``, each of the shape of the counts; the objective's is named ``"objective"``.

    Precision is 0 where there are positive rows and none is predicted. The objective is NaN without a positive row,
    but for a cost. A cost without ``costs`` is the share of errors.

    Example:
        >>> counts = ClassCounts(*torch.tensor([[3.0], [1.0], [1.0], [7.0]]))
        >>> figures(counts, Objective("cost", costs=((0, 1), (5, 0))))["objective"].tolist()
        [0.5]
    """
    each = class_figures(counts, objective.beta)
    (right, alarm), (missed, found) = objective.costs or ERRORS
    tp, fp, fn, tn = counts
    named = {
        "precision": each["precision"],
        "recall": each["recall"],
        "f_beta": each[f_name(objective.beta)],
        "specificity": each["specificity"],
        "youden": each["recall"] + each["specificity"] - 1,
        "accuracy": (tp + tn) / counts.total,
        "cost": (right * tn + alarm * fp + missed * fn + found * tp) / counts.total,
    }
    value = named[CONSTRAINED.get(objective.kind, (objective.kind,))[0]]
    judged = (counts.support > 0) | (objective.kind == "cost")
    return {**named, "objective": torch.where(judged, value, torch.nan)}


def met(named: dict[str, Tensor], objective: Objective) -> Tensor:
    """Where the constraint holds, or there is none, or nothing to judge it by; bool, of the shape of the figures."""
    if objective.kind not in CONSTRAINED or objective.at is None:
        return torch.ones_like(named["objective"], dtype=torch.bool)
    return ~(named[CONSTRAINED[objective.kind][1]] < objective.at)
