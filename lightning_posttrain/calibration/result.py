"""How far predicted probabilities can be taken at their word, before and after an adjustment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

from torch import Tensor

from lightning_posttrain.core.output.result import Counted, undefined_to_none

MAIN = ("ece", "ace", "classwise_ece", "mce", "brier", "log_loss")
PARTS = ("brier_reliability", "brier_resolution", "brier_uncertainty", "brier_within")
FIGURES = (*MAIN[:-1], *PARTS, MAIN[-1])


@dataclass(frozen=True, eq=False)
class CalibrationFigures(Counted):
    """How far probabilities are from the frequencies of what they speak of; NaN where there are no rows.

    Args:
        ece: expected calibration error: mean distance of confidence and accuracy over bins, weighted by rows.
        ace: adaptive calibration error: the same distance over bins that hold equally many rows.
        classwise_ece: mean over the classes, or labels, of the expected calibration error of their probability.
        mce: maximum calibration error: the largest distance over the bins.
        brier: mean squared distance of the probabilities to what came true.
        brier_reliability: what miscalibration adds to it; lower is better.
        brier_resolution: what telling rows apart takes from it; higher is better.
        brier_uncertainty: what it is for one who knows only how frequent the classes are.
        brier_within: what is left, from probabilities that differ within a bin:
            ``brier = reliability - resolution + uncertainty + within``.
        log_loss: mean of minus the log of the probability of what came true.
        edges: of the diagram's bins ``(B + 1,)``, from 0 to 1.
        rows: in each bin ``(B,)``, int64.
        confidence: mean predicted probability in each bin ``(B,)`` float64, NaN where it is empty.
        accuracy: how often it came true ``(B,)`` float64, NaN where the bin is empty.
    """

    ece: float
    ace: float
    classwise_ece: float
    mce: float
    brier: float
    brier_reliability: float
    brier_resolution: float
    brier_uncertainty: float
    brier_within: float
    log_loss: float
    edges: Tensor
    rows: Tensor
    confidence: Tensor
    accuracy: Tensor

    def scalars(self) -> dict[str, float]:
        """The figures without the parts of the Brier score."""
        return {name: getattr(self, name) for name in MAIN}

    def figures(self) -> dict[str, float]:
        """All ten figures."""
        return {name: getattr(self, name) for name in FIGURES}

    def bins(self) -> list[tuple[float, float, int, float, float]]:
        """Lower and upper edge, rows, mean confidence and accuracy of each bin of the diagram."""
        edges = self.edges.tolist()
        columns = (self.rows.tolist(), self.confidence.tolist(), self.accuracy.tolist())
        return list(zip(edges[:-1], edges[1:], *columns, strict=True))


@dataclass(frozen=True, eq=False)
class CalibrationReport(Counted):
    """Calibration as the model has it, and as an adjustment of its scores makes it.

    Args:
        before: of the model's own probabilities.
        after: of the adjusted ones, or None where there is no adjustment.
        method: how they were adjusted, as ``"temperature"``, or None.
        words: a sentence about the adjustment, as ``"temperature 1.83: the network is too sure of itself"``.
        rows: rows that the figures are of.
        total: rows that were seen.
        kept: whether the adjustment is kept.
        reason: why it is not kept, or not there.
        held_out: whether each row of ``after`` was adjusted by a fit to other rows of this set (validation), rather
            than by what was fitted on validation (test).
        fitted: rows of these that it was fitted to, where that was now (validation); else 0.
        parameters: numbers of the adjustment, as ``{"temperature": 1.83}``.
    """

    recorded_as: ClassVar[str] = "calibration"

    before: CalibrationFigures
    after: CalibrationFigures | None = None
    method: str | None = None
    words: str = ""
    rows: int = 0
    total: int = 0
    kept: bool = False
    reason: str = ""
    held_out: bool = False
    fitted: int = 0
    parameters: Mapping[str, float] = field(default_factory=dict)

    @property
    def notes(self) -> tuple[str, ...]:
        """What was adjusted, why not, on which rows, and whether the figures are of a sample."""
        sample = f"figures are from a sample of {self.rows:,} of {self.total:,} rows" if self.rows < self.total else ""
        empty = "no rows were counted" if not self.total else ""
        few = f"fitted to {self.fitted:,} of these rows" if 0 < self.fitted < self.rows else ""
        notes = (self.words, self.reason, self._source, self._verdict, few, sample, empty)
        return tuple(note for note in notes if note)

    @property
    def _source(self) -> str:
        if self.after is None:
            return ""
        if self.held_out:
            return "after: each row is adjusted by a fit to other rows"
        return "after: adjusted by what was fitted on validation"

    @property
    def _verdict(self) -> str:
        """Where the adjustment makes something worse."""
        if self.after is None:
            return ""
        loss, other = self.before.log_loss, self.after.log_loss
        if other > loss:
            return f"on these rows it is worse: log loss {other:.4f} instead of {loss:.4f}. Trust what was not adjusted"
        if self.after.ece > self.before.ece + 0.01:
            return (
                "the log loss falls while the ECE rises: few errors of high confidence drive it. Look at their labels"
            )
        return ""

    def scalars(self) -> dict[str, float]:
        """The main figures, and those after the adjustment as ``<name>_calibrated``; where there is none, the same."""
        after = self.before if self.after is None else self.after
        return {**self.before.scalars(), **{f"{name}_calibrated": value for name, value in after.scalars().items()}}

    def to_dict(self) -> dict[str, Any]:
        """Everything, with the bins."""
        plain = {part.name: getattr(self, part.name) for part in fields(self)}
        plain["before"] = self.before.to_dict()
        plain["after"] = self.after.to_dict() if self.after is not None else None
        said: dict[str, Any] = undefined_to_none({"kind": self.recorded_as, **plain, "notes": self.notes})
        return said
