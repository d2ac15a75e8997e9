"""What is looked at once a run, on the first batch of a loader, before any figure is believed."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lightning_posttrain.classification.batch import EvalBatch

if TYPE_CHECKING:
    from lightning_posttrain.classification.reading import ClassReading


def check_batch(
    batch: EvalBatch, scores: Tensor, target: Tensor, reading: ClassReading, *, heard: bool = False
) -> None:
    """Raise where the values of a batch contradict what was said of them.

    Args:
        batch: the batch as it was read.
        scores: its scores as the network gave them.
        target: its targets as the loader gave them.
        reading: what was said.
        heard: whether the step itself gave scores and targets together, so that their layout is known.

    Raises:
        ValueError: targets that are no class, soft targets, or probabilities outside 0 to 1.
    """
    if target.is_floating_point() and bool(((target != target.round()) & ~(heard & target.isnan())).any()):
        raise ValueError("`target` holds fractions, wanted 0 or 1. Pass target_fn=lambda batch: ... that rounds.")
    bad = batch.target[batch.real & ~batch.in_range]
    if bad.numel():
        raise ValueError(
            f"`target` holds {bad[0].item()}, wanted 0 to {batch.num_classes - 1} for scores with "
            f"{batch.num_classes} classes. Pass target_fn=lambda batch: ... that renumbers, num_classes=..., or "
            "ignore_index=... for rows to leave out."
        )
    if reading.scores == "probabilities":
        _check_probabilities(scores)
    elif _sum_to_one(scores, reading):
        raise ValueError(
            "the scores of the first batch are probabilities: none is negative, and each row sums to one. Pass "
            "scores='probabilities', or return logits, without which log loss, calibration and areas would be wrong."
        )
    elif (reading.task == "multilabel" or scores[0].numel() == 1) and _all_in_unit(scores):
        warnings.warn(
            "the scores of the first batch all lie in 0 to 1, but `scores` is 'logits'. If the network ends in a "
            "softmax or sigmoid, pass scores='probabilities'; else its figures are wrong.",
            stacklevel=2,
        )
    if not heard and scores.ndim == 3 and scores.shape[1] == scores.shape[2] and reading.task == "multiclass":
        warnings.warn(
            f"the scores of the first batch have shape {tuple(scores.shape)}: classes are taken to stand in the second "
            "dimension. If they stand in the last, pass scores_fn=lambda outputs, batch: ... that transposes them.",
            stacklevel=2,
        )
    if reading.task == "multilabel" and len(batch.target) >= 8 and bool((batch.target.sum(dim=1) == 1).all()):
        warnings.warn(
            "each row of the first batch has just one label. If that is so for all, say task='multiclass' and "
            "target_fn=lambda batch: batch[1].argmax(1).",
            stacklevel=2,
        )


def _check_probabilities(scores: Tensor) -> None:
    outside = scores[(scores < 0) | (scores > 1)]
    if outside.numel():
        raise ValueError(
            f"scores='probabilities', but the scores hold {outside[0].item():.3g}, wanted 0 to 1. "
            "Pass scores='logits' for a network without softmax or sigmoid at its end."
        )


def _sum_to_one(scores: Tensor, reading: ClassReading) -> bool:
    """Whether scores of classes that exclude each other are probabilities: no others sum to one row by row."""
    if reading.task == "multilabel" or scores.ndim < 2 or scores.shape[1] < 2 or scores.numel() < 8:
        return False
    sums = scores.float().sum(dim=1)
    return bool((scores >= 0).all() & torch.isclose(sums, torch.ones_like(sums), atol=1e-3).all())


def _all_in_unit(scores: Tensor) -> bool:
    """Whether no score is below 0 or above 1: seldom so by chance."""
    return scores.numel() >= 8 and bool(((scores >= 0) & (scores <= 1)).all())
