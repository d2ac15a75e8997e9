"""What an exported model answers: class names, probabilities and decisions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np

from lightning_posttrain.core.output.columns import in_columns
from lightning_posttrain.export.decision import Decision
from lightning_posttrain.export.outputs import Outputs
from lightning_posttrain.export.signature import Array

MOST_PRINTED = 10
NO_ANSWER = -1

Label = str | tuple[str, ...] | None


@final
@dataclass(frozen=True, eq=False)
class Answers:
    """Answers for some rows; it prints as a table.

    Args:
        probabilities: calibrated; float32 ``(N, C, ...)`` by class, of a binary task two columns, ``(N, L, ...)`` by
            label.
        decision: int64; the class ``(N, ...)``, or -1 for no answer; of labels 0 or 1, ``(N, L, ...)``.
        how: how it was decided, with the names of the classes.

    Example:
        >>> how = Decision("multiclass", ("cat", "dog"), confidence=0.75)
        >>> probabilities = np.array([[0.875, 0.125], [0.5, 0.5]], dtype=np.float32)
        >>> answers = Answers(probabilities, np.array([0, -1]), how)
        >>> answers.labels, answers.confidence.tolist()
        (('cat', None), [0.875, 0.5])
        >>> print(answers)
        row  answer     probability
          0  cat              0.875
          1  no answer        0.500
    """

    probabilities: Array
    decision: Array
    how: Decision

    @classmethod
    def of(cls, outputs: Outputs, how: Decision) -> Answers:
        """Of what a model gave."""
        return cls(outputs.probabilities, outputs.decision, how)

    def __len__(self) -> int:
        return len(self.decision)

    @property
    def maps(self) -> bool:
        """Whether a row has an answer at each of many positions, as a segmentation has."""
        return self.decision.ndim > (2 if self.how.task == "multilabel" else 1)

    @property
    def labels(self) -> tuple[Label, ...] | None:
        """By row the name of the class, None for no answer; of labels a tuple of the names that are there.

        None where each row is a map: there are as many answers as positions. ``np.array(class_names)[decision]`` names
        them, where no position is without an answer.
        """
        if self.maps:
            return None
        names = self.how.class_names
        if self.how.task == "multilabel":
            return tuple(tuple(name for name, there in zip(names, row, strict=True) if there) for row in self.decision)
        return tuple(None if found == NO_ANSWER else names[found] for found in self.decision.tolist())

    @property
    def confidence(self) -> Array:
        """Probability of what was decided, in the shape of ``decision``.

        It is that of the class, or the highest where there is no answer; of each label that it is there, or that it is
        not.
        """
        if self.how.task == "multilabel":
            return np.where(self.decision == 1, self.probabilities, 1 - self.probabilities)
        chosen = np.where(self.decision == NO_ANSWER, self.probabilities.argmax(1), self.decision)
        return np.take_along_axis(self.probabilities, np.expand_dims(chosen, 1), 1).squeeze(1)

    def __str__(self) -> str:
        if self.maps:
            number, *shape = self.decision.shape
            return f"{number} {'map' if number == 1 else 'maps'} of {' × '.join(map(str, shape))} decisions"
        rows = [(str(n), *_row(label, self, n)) for n, label in enumerate((self.labels or ())[:MOST_PRINTED])]
        head = ("row", "answer", "probability")
        lines = in_columns([head, *rows], right={0, 2})
        more = len(self) - MOST_PRINTED
        return "\n".join(lines if more <= 0 else [*lines, f"and {more:,} more"])


def _row(label: Label, answers: Answers, row: int) -> tuple[str, str]:
    """One answer in words, with the probability of each name in it."""
    if isinstance(label, tuple):
        there = answers.confidence[row][answers.decision[row] == 1]
        return ", ".join(label) or "none", ", ".join(f"{chance:.3f}" for chance in there)
    return "no answer" if label is None else label, f"{answers.confidence[row]:.3f}"
