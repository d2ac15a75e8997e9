"""What other callbacks of a Trainer have fitted on validation, as far as it is for the weights that are shipped."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from lightning_posttrain.calibration import Calibration, Calibrator, from_state
from lightning_posttrain.classification import ClassReading
from lightning_posttrain.core.capture.foreign import attribute
from lightning_posttrain.core.output.result import undefined_to_none
from lightning_posttrain.export.run.weights import Weights
from lightning_posttrain.thresholds import DecisionThresholds

if TYPE_CHECKING:
    from lightning.pytorch import Trainer

    from lightning_posttrain.core.callback.fitted_on_validation import FittedOnValidation


OF_SCORES = ("task", "scores", "scores_fn", "scores_from", "target")
"""Of a reading, what says which scores are meant."""


@dataclass(frozen=True, eq=False)
class Fitted:
    """What stands behind the network.

    Args:
        calibrator: from logits to logits, or None.
        calibration: it in plain values, for the manifest; with its state, so that it can be made again.
        thresholds: of class 1 or of each label, or None.
        confidence: below which there is no answer; None where every row gets one.
        left_out: why something is not there.
    """

    calibrator: Calibrator | None = None
    calibration: dict[str, Any] | None = None
    thresholds: tuple[float, ...] | None = None
    confidence: float | None = None
    left_out: tuple[str, ...] = ()


def fitted_for(trainer: Trainer, weights: Weights, reading: ClassReading, columns: int) -> Fitted:
    """What callbacks have fitted for weights.

    Args:
        trainer: whose callbacks are asked.
        weights: that are shipped.
        reading: of the scores; callbacks that read others are not meant.
        columns: classes or labels.
    """
    calibration, thresholds, left_out = None, None, []
    for callback, is_meant in _fitted(trainer, reading):
        wanted = 1 if reading.task == "binary" and isinstance(callback, DecisionThresholds) else columns
        found = _for(callback, weights, wanted) if is_meant else None
        if found is None:
            left_out.append(_missing(callback, weights, is_meant=is_meant))
        elif isinstance(callback, Calibration):
            calibration = calibration or found
        else:
            thresholds = thresholds or found
    return _as_fitted(calibration, thresholds, tuple(left_out), reading)


def _as_fitted(
    calibration: dict[str, Any] | None, chosen: dict[str, Any] | None, left_out: tuple[str, ...], reading: ClassReading
) -> Fitted:
    calibrator = None if calibration is None or calibration["method"] == "none" else from_state(calibration)
    plain = None if calibrator is None else plain_calibrator(calibrator)
    cuts = (chosen or {}).get("thresholds")
    if cuts is not None and reading.task == "multiclass":
        left_out += ("thresholds of one class against the rest: the answer is the most probable class",)
        cuts = None
    confidence = (chosen or {}).get("confidence")
    numbers = None if cuts is None else tuple(map(float, cuts))
    return Fitted(calibrator, plain, numbers, float(confidence) if confidence else None, left_out)


def plain_calibrator(calibrator: Calibrator) -> dict[str, Any]:
    """A calibrator in values that JSON takes."""
    state = undefined_to_none(calibrator.to_state())
    numbers = calibrator.numbers()
    return {"method": calibrator.method, "words": calibrator.describe(), "parameters": numbers, "state": state}


def _fitted(trainer: Trainer, reading: ClassReading) -> Iterator[tuple[Calibration | DecisionThresholds, bool]]:
    """Callbacks that fit, or their parts for the target that is meant, and whether they read the same scores."""
    for callback in attribute(trainer, "callbacks", ()):
        if isinstance(callback, (Calibration, DecisionThresholds)):
            meant = [part for part in callback.parts() if reads_alike(part.reading, reading)]
            yield (meant[0], True) if meant else (callback, False)


def reads_alike(one: ClassReading, other: ClassReading) -> bool:
    """Whether two readings take the same scores for the same task, whoever said so: the user or the step."""
    return all(getattr(one, name) == getattr(other, name) for name in OF_SCORES)


def _for(callback: FittedOnValidation, weights: Weights, columns: int) -> dict[str, Any] | None:
    """What a callback has fitted for weights: in the run, or in the checkpoint that they are from."""
    if not weights.alone:
        return None
    module = cast("Any", weights.module)
    if weights.states is None:
        return callback.for_these(module, columns)
    twin = copy.copy(callback)
    twin.targets = {}
    state = weights.states.get(callback.state_key)  # type: ignore[attr-defined]
    twin.load_state_dict(state if isinstance(state, dict) else {})
    found = twin.for_these(module, columns)
    return callback.for_these(module, columns) if found is None else found


def _missing(callback: FittedOnValidation, weights: Weights, *, is_meant: bool) -> str:
    kind = type(callback).__name__
    what = "calibration" if isinstance(callback, Calibration) else "thresholds"
    if not is_meant:
        return f"{what}: {kind} reads other scores than ModelExport, or for another task or target"
    if not weights.alone:
        return f"{what}: {kind} fits to single weights, and an ensemble is shipped"
    if callback.fitted is None:
        return f"{what}: {kind} has fitted nothing"
    return f"{what}: what {kind} has fitted is for other weights"
