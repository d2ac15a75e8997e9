"""Accuracy and log loss of answers, of sums over all rows of files; with NumPy alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np

from lightning_posttrain.export.decision import Task
from lightning_posttrain.export.outputs import Outputs
from lightning_posttrain.export.signature import Array

LARGEST_LOSS = -float(np.log(np.finfo(np.float64).eps))
"""Log loss of a row whose class has probability 0, as of the metrics of validation."""


@final
@dataclass
class TargetFigures:
    """Accuracy and log loss of answers beside their targets.

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
