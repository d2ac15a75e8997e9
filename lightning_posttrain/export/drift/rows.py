"""One confidence and one answer of each row, whatever the task, so that rows can be counted as independent."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightning_posttrain.export.decision import Task

Array = NDArray[Any]

LEAST = 1e-30
"""Below it a probability counts as this: the log-odds of a row are between -69 and 69."""
HALF_STEP = 2.0**-24
"""Between a float32 next to 1 and 1."""
NO_ANSWER = -1


def row_confidence(probabilities: Array, task: Task) -> NDArray[np.float32]:
    """How sure each row is, in log-odds: 2.2 where the probability is 0.9, 4.6 where it is 0.99.

    Of classes it is the logarithm of the top probability over the sum of the others, which tells apart rows whose
    top probability is rounded to 1. Of labels it is the mean of each label's distance from 0.5,
    ``|log(p / (1 - p))|``. Of positions, as of a segmentation, it is the mean over a row's: pixels of one image are not
    independent, images are. What is not finite counts as least sure.

    Args:
        probabilities: of classes ``(N, C, ...)``, of labels ``(N, L, ...)``; further dimensions are positions.
        task: ``"multilabel"`` for labels.

    Returns:
        ``(N,)``.

    Example:
        >>> row_confidence(np.array([[0.9, 0.1], [0.5, 0.5]], np.float32), "binary").round(2)
        array([2.2, 0. ], dtype=float32)
    """
    if task == "multilabel":
        held = np.clip(probabilities, HALF_STEP, 1 - HALF_STEP, dtype=np.float32)
        sure = np.abs(np.log(held / (1 - held)))
        return _finite(sure.reshape(len(sure), -1).mean(axis=1))
    if probabilities.ndim == 2:
        return _finite(_top_log_odds(probabilities))
    entries = np.moveaxis(probabilities, 1, -1)
    sure = _top_log_odds(entries.reshape(-1, entries.shape[-1]))
    return _finite(sure.reshape(len(probabilities), -1).mean(axis=1))


def _top_log_odds(probabilities: Array) -> Array:
    others = probabilities.astype(np.float32)
    top_place = np.arange(len(others)), others.argmax(axis=1)
    top = others[top_place]
    others[top_place] = 0
    sure: Array = np.log(np.maximum(top, LEAST) / np.maximum(others.sum(axis=1), LEAST))
    return sure


def _finite(sure: Array) -> NDArray[np.float32]:
    lowest: NDArray[np.float32] = np.fmax(sure, np.float32(np.log(LEAST)))
    return lowest


def row_answer(probabilities: Array, decision: Array, task: Task) -> NDArray[np.int64]:
    """One answer of each row: a class or label, or -1 for none.

    Of classes it is the decision; of labels the most probable one of those that are there, -1 where none is. Of
    positions it is the class that most have, and of labels the one with the largest sum of probability where it is
    there. A row has one answer alone, so that the counts of answers are those of independent rows.

    Args:
        probabilities: of classes ``(N, C, ...)``, of labels ``(N, L, ...)``; further dimensions are positions.
        decision: of classes ``(N, ...)``, -1 for no answer; of labels 0 or 1 ``(N, L, ...)``.
        task: ``"multilabel"`` for labels.

    Returns:
        ``(N,)``.

    Example:
        >>> said = np.array([[0.9, 0.7, 0.2], [0.1, 0.2, 0.3]])
        >>> row_answer(said, said > 0.5, "multilabel").tolist()
        [0, -1]
    """
    if task == "multilabel":
        there = (probabilities * decision).reshape(*probabilities.shape[:2], -1).sum(axis=2)
        return np.where(there.any(axis=1), there.argmax(axis=1), NO_ANSWER)
    if decision.ndim == 1:
        return decision.astype(np.int64, copy=False)
    rows = decision.reshape(len(decision), -1) - NO_ANSWER
    return np.array([np.bincount(row).argmax() + NO_ANSWER for row in rows], dtype=np.int64)
