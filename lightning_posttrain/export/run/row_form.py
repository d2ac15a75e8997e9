"""Answers of a model in the one form that the figures of a classifier read: a row for each decision."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from lightning_posttrain.classification import EvalBatch
from lightning_posttrain.export.outputs import Outputs
from lightning_posttrain.export.signature import Array

Inputs = Mapping[str, Array]
"""By name, each ``(N, ...)``."""


def as_rows(outputs: Outputs, *, labels: bool) -> Outputs:
    """Probabilities ``(R, C)`` and decisions ``(R,)``, or ``(R, L)`` of labels; positions are rows of their own.

    Example:
        >>> image = Outputs(np.zeros((2, 3, 4, 4)), np.zeros((2, 4, 4), dtype=np.int64))
        >>> [part.shape for part in as_rows(image, labels=False)]
        [(32, 3), (32,)]
    """
    decision = _last(outputs.decision) if labels else outputs.decision.reshape(-1)
    return Outputs(_last(outputs.probabilities), decision)


def by_sample(rows: Outputs, samples: int, *, labels: bool) -> Outputs:
    """The way back: a row for each sample, with its positions behind where it has several."""
    each = len(rows.probabilities) // max(samples, 1)
    if each == 1:
        return rows
    chance = np.moveaxis(rows.probabilities.reshape(samples, each, -1), 1, -1)
    decision = rows.decision.reshape(samples, each, *rows.decision.shape[1:])
    return Outputs(chance, np.moveaxis(decision, 1, -1) if labels else decision)


def _last(array: Array) -> Array:
    """``(N, C, ...)`` as rows ``(R, C)``."""
    return np.moveaxis(array, 1, -1).reshape(-1, array.shape[1])


def scored(batch: EvalBatch, rows: Outputs) -> EvalBatch:
    """A batch with the probabilities of a model in place of the step's scores.

    Args:
        batch: on the CPU.
        rows: as ``as_rows`` gives them.
    """
    chance = torch.from_numpy(np.ascontiguousarray(rows.probabilities)).double()
    scores = log_odds(chance) if batch.multilabel else _log(chance)
    return replace(batch, scores=scores, single=False)


def decided(batch: EvalBatch, labels: Array) -> EvalBatch:
    """A batch with what was decided in place of the step's scores: figures of labels alone can be read from it.

    Args:
        batch: on the CPU.
        labels: classes ``(R,)``, or 0 and 1 ``(R, L)``.
    """
    found = torch.from_numpy(labels)
    ones = found if batch.multilabel else torch.nn.functional.one_hot(found, batch.num_classes)
    return replace(batch, scores=2.0 * ones - 1, single=False)


def log_odds(chance: Tensor) -> Tensor:
    """Of probabilities of labels, finite also at 0 and 1."""
    return _log(chance) - _log(1 - chance)


def _log(chance: Tensor) -> Tensor:
    tiny = torch.finfo(torch.float32).tiny
    return torch.where(chance < tiny, tiny, chance).log()
