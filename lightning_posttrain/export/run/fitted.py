"""What other callbacks of a Trainer have fitted on validation, as far as it is for the weights that are shipped."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lightning_posttrain.calibration import Calibration, Calibrator, from_state
from lightning_posttrain.classification import ClassReading
from lightning_posttrain.core.capture.foreign import attribute
from lightning_posttrain.export.decision import Decision
from lightning_posttrain.export.program.deployed import described
from lightning_posttrain.export.run.context import Context
from lightning_posttrain.export.run.weights import Weights
from lightning_posttrain.thresholds import DecisionThresholds

Fitting = Calibration | DecisionThresholds


OF_SCORES = ("task", "scores", "scores_fn", "scores_from", "target")
"""Of a reading, what says which scores are meant."""


@dataclass(frozen=True, eq=False)
class Fitted:
    """What stands behind the network.

    Args:
        calibrator: from logits to logits, or None.
        decision: how probabilities become answers, with what the calibrator is in plain values.
    """

    calibrator: Calibrator | None
    decision: Decision


def fitted_for(run: Context, weights: Weights) -> Fitted:
    """What callbacks have fitted for weights; those that read other scores than the export are not meant."""
    calibration: dict[str, Any] | None = None
    chosen: dict[str, Any] | None = None
    left_out = []
    for callback, is_meant in _callbacks(run):
        single = run.reading.task == "binary" and isinstance(callback, DecisionThresholds)
        found = _for(callback, weights, columns=1 if single else len(run.names)) if is_meant else None
        if found is None:
            left_out.append(_missing(callback, weights, is_meant=is_meant))
        elif isinstance(callback, Calibration):
            calibration = calibration or found
        else:
            chosen = chosen or found
    calibrator = None if calibration is None or calibration["method"] == "none" else from_state(calibration)
    return Fitted(calibrator, _decision(run, calibrator, chosen or {}, left_out))


def _decision(
    run: Context, calibrator: Calibrator | None, chosen: Mapping[str, Any], left_out: Sequence[str]
) -> Decision:
    cuts, confidence = chosen.get("thresholds"), chosen.get("confidence")
    if cuts is not None and run.reading.task == "multiclass":
        left_out = (*left_out, "thresholds of one class against the rest: the answer is the most probable class")
        cuts = None
    return Decision(
        run.reading.task,
        run.names,
        thresholds=None if cuts is None else tuple(map(float, cuts)),
        confidence=float(confidence) if confidence else None,
        calibration=None if calibrator is None else described(calibrator),
        mean=run.settings.mean,
        std=run.settings.std,
        left_out=tuple(left_out),
    )


def _callbacks(run: Context) -> Iterator[tuple[Fitting, bool]]:
    """Callbacks that fit, or their parts for the target that is meant, and whether they read the same scores."""
    for callback in attribute(run.trainer, "callbacks", ()):
        if isinstance(callback, (Calibration, DecisionThresholds)):
            meant = [part for part in callback.parts() if reads_alike(part.reading, run.reading)]
            yield (meant[0], True) if meant else (callback, False)


def reads_alike(one: ClassReading, other: ClassReading) -> bool:
    """Whether two readings take the same scores for the same task, whoever said so: the user or the step."""
    return all(getattr(one, name) == getattr(other, name) for name in OF_SCORES)


def _for(callback: Fitting, weights: Weights, columns: int) -> dict[str, Any] | None:
    """What a callback has fitted for weights: in the run, or in the checkpoint that they are from."""
    if not weights.alone:
        return None
    if weights.states is None:
        return callback.for_these(weights.module, columns)
    twin = copy.copy(callback)
    twin.targets = {}
    state = weights.states.get(callback.state_key)
    twin.load_state_dict(state if isinstance(state, dict) else {})
    found = twin.for_these(weights.module, columns)
    return callback.for_these(weights.module, columns) if found is None else found


def _missing(callback: Fitting, weights: Weights, *, is_meant: bool) -> str:
    kind, what = type(callback).__name__, "calibration" if isinstance(callback, Calibration) else "thresholds"
    if not is_meant:
        return f"{what}: {kind} reads other scores than ModelExport, or for another task or target"
    if not weights.alone:
        return f"{what}: {kind} fits to single weights, and an ensemble is shipped"
    if callback.fitted is None:
        return f"{what}: {kind} has fitted nothing"
    return f"{what}: what {kind} has fitted is for other weights"
