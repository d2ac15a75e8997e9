"""How many errors are left when a classifier answers only where it is sure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from lightning_posttrain.core.output.result import Counted


@dataclass(frozen=True, eq=False)
class RiskCoverage(Counted):
    """Risk, the share of errors among the rows that are answered, against coverage, the share of rows answered.

    Args:
        coverage: from the surest rows to all ``(M,)`` float64; thinned, with the ends and the chosen point kept.
        risk: share of errors there ``(M,)`` float64.
        threshold: confidence at or above which a row is answered there ``(M,)`` float64.
        aurc: area under the whole curve: the mean risk over coverages. Lower is better; chance gives the error rate.
        e_aurc: what of it a perfect order of the same rows would save; 0 is best.
        error_rate: risk at full coverage.
        max_risk: the risk that was asked for, or None.
        chosen: confidence at or above which a row is answered, or None.
        coverage_at: coverage there, NaN where none was chosen.
        risk_at: risk there.
        risk_upper: upper end of the one-sided 95 % Clopper-Pearson interval of the risk there.
        frozen: whether ``chosen`` comes from other rows.
        rows: how many there were.
    """

    recorded_as: ClassVar[str] = "abstention"

    coverage: Tensor
    risk: Tensor
    threshold: Tensor
    aurc: float
    e_aurc: float
    error_rate: float
    max_risk: float | None = None
    chosen: float | None = None
    coverage_at: float = math.nan
    risk_at: float = math.nan
    risk_upper: float = math.nan
    frozen: bool = False
    rows: int = 0

    @property
    def notes(self) -> tuple[str, ...]:
        """What became of the risk that was asked for."""
        if self.max_risk is None or not self.rows:
            return ()
        if self.chosen is None:
            return (f"no coverage has a risk of {self.max_risk:g} or less",)
        if self.frozen and self.risk_at > self.max_risk:
            return (f"the risk is {self.risk_at:.4f} on these rows, more than the {self.max_risk:g} it was chosen for",)
        if not self.frozen:
            return ("the confidence threshold was chosen on these rows, so its risk looks lower than on new ones",)
        return ()

    def scalars(self) -> dict[str, float]:
        """The area; where a risk is wanted, the coverage and the risk at the chosen threshold, NaN without one."""
        at = {"coverage_at_risk": self.coverage_at, "risk_at_coverage": self.risk_at}
        return {"aurc": self.aurc, **({} if self.max_risk is None else at)}

    def to_dict(self) -> dict[str, Any]:
        """Everything."""
        return {**super().to_dict(), "notes": list(self.notes)}
