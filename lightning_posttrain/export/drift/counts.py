"""Counts of answers in the bins of a reference, and what they tell beside its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from lightning_posttrain.export.drift.functional import Comparison, compare
from lightning_posttrain.export.drift.reference import DriftReference
from lightning_posttrain.export.drift.rows import NO_ANSWER

Array = NDArray[Any]


@final
class DriftCounts:
    """Answers that are counted together, in the bins and cells of a reference.

    Args:
        reference: whose bins and cells.
    """

    def __init__(self, reference: DriftReference) -> None:
        self.reference = reference
        self.rows = self.answered = self.sure = 0
        self.confidence = np.zeros(len(reference.confidence_counts), dtype=np.int64)
        self.classes = np.zeros(len(reference.class_counts), dtype=np.int64)
        self._edges = np.array(reference.edges, dtype=np.float64)
        self._starts = np.array(reference.class_starts)
        self._threshold = np.float32(np.inf if reference.threshold is None else reference.threshold)

    def add(self, confidence: NDArray[np.float32], answers: NDArray[np.int64]) -> None:
        """Count rows.

        Args:
            confidence: as ``row_confidence`` gives ``(N,)``.
            answers: as ``row_answer`` gives ``(N,)``.
        """
        self.confidence += np.bincount(self._edges.searchsorted(confidence, "right"), minlength=len(self.confidence))
        self.classes += np.bincount(self._starts.searchsorted(answers, "right") - 1, minlength=len(self.classes))
        answered = answers != NO_ANSWER
        self.rows += len(answers)
        self.answered += int(np.count_nonzero(answered))
        self.sure += int(np.count_nonzero(answered & (confidence >= self._threshold)))

    def merge(self, other: DriftCounts) -> None:
        """Count the rows of others too."""
        self.confidence += other.confidence
        self.classes += other.classes
        self.rows += other.rows
        self.answered += other.answered
        self.sure += other.sure

    def findings(self, *, alarms: float, worth_saying: float) -> DriftFindings:
        """Both histograms beside those of the reference; a half of ``alarms`` is for each.

        Args:
            alarms: share of windows without drift in which one of them is over its limit, at most.
            worth_saying: what no limit is below.
        """

        def beside(reference: tuple[int, ...], now: NDArray[np.int64]) -> Comparison:
            found = compare(np.array(reference), now, alarms / 2)
            return found._replace(limit=max(found.limit, worth_saying))

        known = self.reference.threshold is not None and self.answered > 0
        return DriftFindings(
            confidence=beside(self.reference.confidence_counts, self.confidence),
            classes=beside(self.reference.class_counts, self.classes),
            accuracy=self.sure / self.answered if known else None,
        )


@dataclass(frozen=True)
class DriftFindings:
    """What counts tell beside those of the reference.

    Args:
        confidence: index and limit of the histogram of confidence.
        classes: those of the predicted classes.
        accuracy: what it is at most about, of the rows with an answer, or None.
    """

    confidence: Comparison
    classes: Comparison
    accuracy: float | None

    @property
    def alarm(self) -> bool:
        """Whether an index is over its limit."""
        return self.confidence.over or self.classes.over

    def figures(self, suffix: str = "") -> dict[str, float]:
        """By name, in plain floats."""
        named = {
            "psi_confidence": self.confidence.psi,
            "limit_confidence": self.confidence.limit,
            "psi_class": self.classes.psi,
            "limit_class": self.classes.limit,
        }
        if self.accuracy is not None:
            named["accuracy_at_most_about"] = self.accuracy
        return {name + suffix: value for name, value in named.items()}

    def words(self, answers: str) -> str:
        """One sentence.

        Args:
            answers: which they are, as ``"answers 1 to 1,000"``.
        """
        each = {"confidence": self.confidence, "predicted classes": self.classes}
        said = {name: f"PSI {found.psi:.3f}, limit {found.limit:.3f}" for name, found in each.items()}
        if not self.alarm:
            return f"no sign of drift in {answers}: " + ", ".join(f"{name} ({text})" for name, text in said.items())
        unlike = [f"{name} ({said[name]})" for name, found in each.items() if found.over]
        like = [f"; not so {name} ({said[name]})" for name, found in each.items() if not found.over]
        return f"drift: {answers} are unlike the reference in {' and '.join(unlike)}{''.join(like)}"
