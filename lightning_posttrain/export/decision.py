"""How probabilities become an answer: what was tested, in plain values."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

Task = Literal["multiclass", "binary", "multilabel"]
TASKS = get_args(Task)
NEVER = 1 + 2.0**-23
"""Of a threshold that no probability reaches, the next number of float32 above 1."""


@dataclass(frozen=True)
class Decision:
    """How a model decides, all of it inside of its graph.

    ``decision`` is made of the network's own probabilities, as thresholds were chosen and tested on these;
    ``probabilities`` are the calibrated ones.

    Args:
        task: ``"multiclass"``: the most probable class, or -1 for no answer. ``"binary"``: 1 where the probability of
            class 1 is at or above ``thresholds[0]``, or 0.5. ``"multilabel"``: 0 or 1 for each label.
        class_names: of the ``C`` classes or ``L`` labels.
        thresholds: of class 1, or of each label; None for 0.5.
        confidence: the highest probability below which there is no answer, or None.
        calibration: ``{"method", "words", "parameters", "rows"}`` of what was fitted on validation, or None.
        mean: of each channel; with ``std``, what the graph normalises its input with, or None.
        std: of each channel, or None.
        left_out: why something that was fitted is not inside, as a temperature that is for other weights.

    Raises:
        ValueError: names, thresholds or numbers do not go together, or are none.

    Example:
        >>> Decision("binary", ("no", "yes"), thresholds=(0.3,)).words
        "'yes' where its probability is at or above 0.3, else 'no'"
    """

    task: Task
    class_names: tuple[str, ...]
    thresholds: tuple[float, ...] | None = None
    confidence: float | None = None
    calibration: dict[str, Any] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    left_out: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self._check_names()
        self._check_thresholds()
        self._check_normalisation()

    def _check_names(self) -> None:
        if self.task not in TASKS:
            raise ValueError(f"`task` is {self.task!r}, wanted one of {TASKS}.")
        if tuple(self.class_names) != self.class_names or not all(isinstance(name, str) for name in self.class_names):
            raise ValueError(f"`class_names` is {self.class_names!r}, wanted a tuple of strings.")
        least = 1 if self.task == "multilabel" else 2
        if len(self.class_names) < least or (self.task == "binary" and len(self.class_names) != 2):
            wanted = "2" if self.task == "binary" else f"{least} or more"
            raise ValueError(f"`class_names` has {len(self.class_names)}, wanted {wanted} for {self.task}.")

    def _check_thresholds(self) -> None:
        if self.thresholds is not None:
            wanted = {"multiclass": 0, "binary": 1, "multilabel": len(self.class_names)}[self.task]
            if len(self.thresholds) != wanted:
                raise ValueError(f"`thresholds` has {len(self.thresholds)}, wanted {wanted} for {self.task}, or None.")
            _check_shares("thresholds", self.thresholds)
        if self.confidence is not None:
            if self.task == "multilabel":
                raise ValueError("`confidence` is for one class a row; several labels have no one confidence.")
            _check_shares("confidence", (self.confidence,))

    def _check_normalisation(self) -> None:
        mean, std = self.mean, self.std
        if (mean is None) != (std is None):
            raise ValueError(f"`mean` is {mean}, `std` is {std}: give both or neither.")
        if mean is not None and std is not None and (len(mean) != len(std) or not all(map(_positive, std))):
            raise ValueError(f"`mean` is {mean}, `std` is {std}, wanted as many of each, and `std` above 0.")

    @property
    def words(self) -> str:
        """How it decides, in a sentence."""
        if self.task == "multilabel":
            if self.thresholds is None:
                return "each label whose probability is at or above 0.5"
            return "each label whose probability is at or above its threshold"
        if self.task == "binary":
            no, yes = self.class_names
            threshold = 0.5 if self.thresholds is None else self.thresholds[0]
            where = f"{yes!r} where its probability is at or above {threshold:g}, else {no!r}"
            said = where if threshold <= 1 else f"always {no!r}, as no probability reaches the threshold"
        else:
            said = "the most probable class"
        if self.confidence is None:
            return said
        if self.confidence > 1:
            return "no answer at all, as no probability reaches the least confidence"
        return f"{said}; no answer where none reaches {self.confidence:g}"

    @property
    def summary(self) -> str:
        """How it decides, and how its probabilities are calibrated."""
        if not self.calibration:
            return self.words
        return f"{self.words}; calibrated: {self.calibration.get('words') or self.calibration.get('method')}"

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, saved: dict[str, Any]) -> Decision:
        """What ``to_dict`` gave.

        Raises:
            ValueError: it is something else.
        """
        if not isinstance(saved, dict):
            raise ValueError(f"'decision' is {saved!r}, wanted an object.")
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in saved.items()
        }
        try:
            return cls(**values)
        except TypeError as error:
            raise ValueError(f"'decision' is {saved!r}, which is none: {error}.") from None


def _check_shares(name: str, values: Iterable[Any]) -> None:
    if not all(isinstance(value, (int, float)) and 0 <= value <= NEVER for value in values):
        raise ValueError(f"`{name}` is {values!r}, wanted numbers from 0 to 1.")


def _positive(value: float) -> bool:
    return math.isfinite(value) and value > 0
