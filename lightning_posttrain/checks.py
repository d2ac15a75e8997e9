"""What is looked at once a run, on the first batch of a loader, before any figure is believed."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from lightning_posttrain.batch import EvalBatch
from lightning_posttrain.reading import Reading


def check_batch(batch: EvalBatch, scores: Tensor, target: Tensor, reading: Reading) -> None:
    """Raise where the values of a batch contradict what was said of them.

    Args:
        batch: the batch as it was read.
        scores: its scores as the network gave them.
        target: its targets as the loader gave them.
        reading: what was said.

    Raises:
        ValueError: targets that are no class, soft targets, or probabilities outside 0 to 1.
    """
    if target.is_floating_point() and bool((target != target.round()).any()):
        raise ValueError("`target` holds fractions, wanted 0 or 1. Pass target_fn=lambda batch: ... that rounds.")
    bad = batch.target[batch.real & ~batch.in_range]
    if bad.numel():
        raise ValueError(
            f"`target` holds {bad[0].item()}, wanted 0 to {batch.num_classes - 1} for scores with "
            f"{batch.num_classes} classes. Pass target_fn=lambda batch: ... that renumbers, or num_classes=..."
        )
    if reading.scores == "probabilities":
        _check_probabilities(scores)
    elif _look_like_probabilities(scores, sum_to_one=reading.task != "multilabel"):
        warnings.warn(
            "the scores of the first batch look like probabilities, but `scores` is 'logits'. If the network ends in a "
            "softmax or sigmoid, pass scores='probabilities'.",
            stacklevel=2,
        )


def _check_probabilities(scores: Tensor) -> None:
    outside = scores[(scores < 0) | (scores > 1)]
    if outside.numel():
        raise ValueError(
            f"scores='probabilities', but the scores hold {outside[0].item():.3g}, wanted 0 to 1. "
            "Pass scores='logits' for a network without softmax or sigmoid at its end."
        )


def _look_like_probabilities(scores: Tensor, *, sum_to_one: bool) -> bool:
    """Rows that sum to one, or single scores of which none is below 0 or above 1: seldom so by chance."""
    inside = (scores >= 0) & (scores <= 1)
    if sum_to_one and scores.ndim >= 2 and scores.shape[1] >= 2:
        sums = scores.float().sum(dim=1)
        return bool(inside.all() & torch.isclose(sums, torch.ones_like(sums), atol=1e-2).all())
    return scores.numel() >= 8 and bool(inside.all())
