"""Thresholds of probabilities above which a label is said to be there, and what they change."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from lightning_posttrain.core.output.result import Counted, listed, undefined_to_none
from lightning_posttrain.thresholds.result.abstention import RiskCoverage

COST = "cost"
FEW, LOGGED = 20, 10
"""Positive rows below which a threshold is uncertain, and labels whose thresholds are logged, at most."""


@dataclass(frozen=True, eq=False)
class Operating(Counted):
    """Figures of each label at one set of thresholds, each ``(L,)`` float64; NaN where not defined.

    Args:
        threshold: a label is predicted where its probability is at or above this.
        precision, recall, f_beta, specificity, accuracy: as in scikit-learn.
        youden: recall + specificity - 1.
        cost: mean cost of a row; without costs, the share of errors.
        objective: the figure that thresholds are chosen for; NaN for labels without a positive row.
        met: whether the objective's constraint holds ``(L,)`` bool; True where there is none.
    """

    threshold: Tensor
    precision: Tensor
    recall: Tensor
    f_beta: Tensor
    specificity: Tensor
    youden: Tensor
    accuracy: Tensor
    cost: Tensor
    objective: Tensor
    met: Tensor

    @property
    def macro(self) -> dict[str, float]:
        """Means over the labels where a figure is defined, by its name."""
        figures = {name: values for name, values in vars(self).items() if name not in ("threshold", "met")}
        return {name: float(values.nanmean()) for name, values in figures.items()}

    @property
    def value(self) -> float:
        """The macro mean of the objective."""
        return self.macro["objective"]


@dataclass(frozen=True, eq=False)
class ObjectiveCurve(Counted):
    """Figures of one label against its threshold, each ``(M,)`` float64, thinned; ``threshold`` rises.

    Args:
        threshold: one for each cut between scores.
        value: the objective; NaN where it is not defined or its constraint not met.
        precision: NaN where not defined, as where nothing is predicted.
        recall: NaN where not defined.
    """

    threshold: Tensor
    value: Tensor
    precision: Tensor
    recall: Tensor


@dataclass(frozen=True, eq=False)
class ThresholdReport(Counted):
    """What thresholds chosen for an objective change against thresholds of 0.5.

    Args:
        class_names: ``L`` names of labels, or of classes each against the rest; of class 1 for a binary task.
        name: the objective's short name, as ``"f1"``.
        objective: the same as people write it, as ``"F1"``.
        default: figures at 0.5.
        tuned: figures at the thresholds, or None where there are none.
        gain: what the objective wins over 0.5, mean over labels; for a cost, what is saved a row.
        gain_interval: its 95 % bootstrap interval.
        frozen: whether the thresholds come from other rows, as on test.
        held_out: whether ``tuned`` judges each row by thresholds from other rows, as in cross-fitting.
        reason: why there are no thresholds, or none for some labels.
        curves: one of each label; none where labels are very many.
        abstention: what is left of the errors if unsure rows get no answer, or None.
        rows: rows that the figures are from.
        total: rows that there were.
        positives: positive rows of each label.
    """

    recorded_as: ClassVar[str] = "thresholds"

    class_names: tuple[str, ...]
    name: str
    objective: str
    default: Operating
    tuned: Operating | None = None
    gain: float = math.nan
    gain_interval: tuple[float, float] = (math.nan, math.nan)
    frozen: bool = False
    held_out: bool = False
    reason: str = ""
    curves: tuple[ObjectiveCurve, ...] = ()
    abstention: RiskCoverage | None = None
    rows: int = 0
    total: int = 0
    positives: tuple[int, ...] = ()

    @property
    def figure(self) -> str:
        """The figure that ``gain`` is of, in a word or two, as ``"recall"``."""
        return self.objective.split(" at ")[0] + (" a row" if self.name == COST else "")

    @property
    def gains(self) -> Tensor:
        """What each label wins ``(L,)`` float64."""
        if self.tuned is None:
            return torch.full_like(self.default.objective, torch.nan)
        change = self.tuned.objective - self.default.objective
        return -change if self.name == COST else change

    @property
    def said(self) -> str:
        """The gain and its interval in a sentence."""
        if self.tuned is None or math.isnan(self.gain):
            return ""
        low, high = self.gain_interval
        if self.gain < 0:
            low, high = -high, -low
        single, digits = len(self.class_names) == 1, 3 if abs(self.gain) >= 0.01 else 4
        verb = "rises" if (self.gain >= 0) != (self.name == COST) else "falls"
        what = f"{'' if single else 'mean '}{self.figure} {verb} by {abs(self.gain):.{digits}f}"
        against = "a threshold of 0.5" if single else "thresholds of 0.5"
        within = "" if math.isnan(low) else f" (95 % interval {low:.{digits}f} to {high:.{digits}f})"
        return f"{what} against {against}{within}" + (", which may be chance" if low <= 0 else "")

    @property
    def notes(self) -> tuple[str, ...]:
        """Where figures come from, what is missing, and where a constraint is not kept."""
        sample = f"figures are from a sample of {self.rows} of {self.total} rows" if self.rows < self.total else ""
        each = "each row is judged by thresholds that other rows chose" if self.held_out and self.tuned else ""
        rare = [name for name, count in zip(self.class_names, self.positives, strict=False) if count < FEW]
        few = (
            f"fewer than {FEW} positive rows of {listed(rare, limit=4)}, so figures there are uncertain" if rare else ""
        )
        return tuple(note for note in (self.reason, *self._broken(), few, each, sample) if note)

    def _broken(self) -> tuple[str, ...]:
        if " at " not in self.objective:
            return ()
        constraint = self.objective.split(" at ")[1]
        said = []
        for where, point in (("at 0.5", self.default), ("at the thresholds", self.tuned)):
            names = [] if point is None else [self.class_names[i] for i in (~point.met).nonzero().flatten().tolist()]
            if names:
                of = f" of {listed(names, limit=4)}" if len(self.class_names) > 1 else ""
                said.append(f"{where} {constraint} is not reached{of}")
        return tuple(said)

    def scalars(self) -> dict[str, float]:
        """The objective at 0.5 and at the thresholds, the gain, thresholds of up to ten labels, and of abstention."""
        single, tuned = len(self.class_names) == 1, self.tuned or self.default
        name = self.name if single else f"{self.name}_macro"
        gain = 0.0 if self.tuned is None else self.gain
        figures = {f"{name}_at_half": self.default.value, f"{name}_tuned": tuned.value, "gain": gain}
        keys = ["threshold"] if single else [f"threshold/{label}" for label in self.class_names]
        if len(keys) <= LOGGED:
            figures.update(zip(keys, tuned.threshold.tolist(), strict=True))
        return {**figures, **(self.abstention.scalars() if self.abstention else {})}

    def to_dict(self) -> dict[str, Any]:
        """Everything, the curves too."""
        nested = {
            "default": self.default.to_dict(),
            "tuned": self.tuned.to_dict() if self.tuned else None,
            "curves": [curve.to_dict() for curve in self.curves],
            "abstention": self.abstention.to_dict() if self.abstention else None,
        }
        plain = {name: undefined_to_none(value) for name, value in vars(self).items() if name not in nested}
        return {"kind": self.recorded_as, **plain, **nested, "notes": list(self.notes)}
