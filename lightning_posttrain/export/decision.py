"""How probabilities become an answer: what was tested, in plain values."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Task = Literal["multiclass", "binary", "multilabel"]


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
    """

    task: Task
    class_names: tuple[str, ...]
    thresholds: tuple[float, ...] | None = None
    confidence: float | None = None
    calibration: dict[str, Any] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    left_out: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, saved: dict[str, Any]) -> Decision:
        """What ``to_dict`` gave.

        Raises:
            ValueError: it is something else.
        """
        try:
            return cls(**{name: tuple(value) if isinstance(value, list) else value for name, value in saved.items()})
        except TypeError as error:
            raise ValueError(f"'decision' is {saved!r}, which is none: {error}.") from None
