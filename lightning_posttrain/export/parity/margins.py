"""How far a decision is from another one."""

from __future__ import annotations

import numpy as np

from lightning_posttrain.export.decision import Decision
from lightning_posttrain.export.signature import Array


def margins(probabilities: Array, decision: Decision) -> Array:
    """Distance of each decision to the boundary that decides it.

    Of a class it is the highest probability less the second; of binary tasks and labels, the distance to the threshold;
    where ``confidence`` is asked for, the distance to that too, whichever is less. A row without an answer has the
    distance to ``confidence`` alone.

    Args:
        probabilities: those that decide, before calibration: ``(N, C, ...)``, two columns of a binary task,
            ``(N, L, ...)`` of labels.
        decision: how they decide.

    Returns:
        float64 in the shape of the decision, ``(N, ...)``, or ``(N, L, ...)`` of labels.

    Example:
        >>> margins(np.array([[0.5, 0.25, 0.25], [0.125, 0.5, 0.375]]), Decision("multiclass", ("a", "b", "c")))
        array([0.25 , 0.125])
    """
    chances = np.asarray(probabilities, dtype=np.float64)
    if decision.task == "multilabel":
        return np.abs(chances - _thresholds(decision, chances))
    if decision.task == "binary":
        found = np.abs(chances[:, 1] - (decision.thresholds or (0.5,))[0])
    elif chances.shape[1] == 1:
        found = np.full_like(chances[:, 0], np.inf)
    else:
        second, first = np.moveaxis(np.partition(chances, -2, axis=1), 1, 0)[-2:]
        found = first - second
    return found if decision.confidence is None else _with_confidence(found, chances.max(axis=1), decision.confidence)


def _thresholds(decision: Decision, chances: Array) -> Array:
    thresholds = np.asarray(decision.thresholds or (0.5,), dtype=np.float64)
    return thresholds.reshape(1, -1, *[1] * (chances.ndim - 2))


def _with_confidence(found: Array, top: Array, confidence: float) -> Array:
    return np.where(top < confidence, confidence - top, np.minimum(found, np.abs(top - confidence)))
