"""Answers beside others, and beside what is right: sums over all rows of files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import numpy as np

from lightning_posttrain.export.decision import Task
from lightning_posttrain.export.outputs import Outputs
from lightning_posttrain.export.signature import DECISION, PROBABILITIES, Array

LARGEST_LOSS = -float(np.log(np.finfo(np.float64).eps))
"""Log loss of a row whose class has probability 0, as of the metrics of validation."""


@final
@dataclass
class Agreement:
    """How far answers are from others.

    Args:
        rows: that were compared.
        probabilities: that were compared.
        largest: difference of one of these; NaN where one is not finite.
        decisions: that were compared, one for each row, position and label.
        flips: decisions that are others.
    """

    rows: int = 0
    probabilities: int = 0
    largest: float = 0.0
    decisions: int = 0
    flips: int = 0

    def add(self, known: Mapping[str, Array], got: Outputs) -> None:
        """Add rows.

        Args:
            known: ``probabilities`` and ``decision``, or one of them.
            got: of the same rows.

        Raises:
            ValueError: one has another shape.
        """
        for name, found in got._asdict().items():
            if name in known and known[name].shape != found.shape:
                raise ValueError(f"`{name}` has shape {known[name].shape}, and the model gives {found.shape}.")
        self.rows += len(got.decision)
        if PROBABILITIES in known:
            apart = np.abs(known[PROBABILITIES].astype(np.float64) - got.probabilities)
            self.probabilities += apart.size
            self.largest = float(np.maximum(self.largest, apart.max()))
        if DECISION in known:
            self.decisions += got.decision.size
            self.flips += int((known[DECISION] != got.decision).sum())


@final
@dataclass
class Figures:
    """How often answers are right.

    Args:
        decisions: with a target, and an answer.
        right: of these.
        without: with a target, and no answer.
        loss: sum of the log loss of all with a target.
    """

    decisions: int = 0
    right: int = 0
    without: int = 0
    loss: float = 0.0

    def add(self, target: Array, got: Outputs, task: Task) -> None:
        """Add rows.

        Args:
            target: in the shape of the decision; negative ones are not counted.
            got: answers of the same rows.
            task: of the model.

        Raises:
            ValueError: it has another shape, is not of whole numbers, or names a class that is not there.
        """
        classes = 2 if task == "multilabel" else got.probabilities.shape[1]
        if target.shape != got.decision.shape or target.dtype.kind not in "iub" or (target >= classes).any():
            raise ValueError(
                f"`target` is {target.dtype} {target.shape}, wanted whole numbers below {classes} as "
                f"{('N', *got.decision.shape[1:])}."
            )
        counted = target >= 0
        answered = counted & (got.decision >= 0)
        self.decisions += int(answered.sum())
        self.without += int((counted & ~answered).sum())
        self.right += int((got.decision == target)[answered].sum())
        self.loss += float(_losses(got.probabilities, np.where(counted, target, 0), task)[counted].sum())

    def values(self) -> dict[str, float]:
        """Accuracy of the answers, and log loss of all rows."""
        number = self.decisions + self.without
        found = {"accuracy": self.right / self.decisions} if self.decisions else {}
        return {**found, "log_loss": self.loss / number} if number else {}


def _losses(probabilities: Array, target: Array, task: Task) -> Array:
    """Log loss of each decision."""
    chances = probabilities.astype(np.float64)
    if task == "multilabel":
        right = np.where(target == 1, chances, 1 - chances)
    else:
        right = np.take_along_axis(chances, np.expand_dims(target.astype(np.int64), 1), 1).squeeze(1)
    with np.errstate(divide="ignore"):
        return np.minimum(-np.log(right), LARGEST_LOSS)
