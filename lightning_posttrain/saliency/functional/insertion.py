"""Insertion and deletion: scores while positions come in and go out by a map of importance.

Maps and ``channel_dim`` are as in ``faithfulness``.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from lightning_posttrain.saliency.functional.faithfulness import Score
from lightning_posttrain.saliency.functional.maps import order, over_channels


class Curves(NamedTuple):
    """Scores while positions come in and go out, from none to all of them in equal steps, each ``(K, steps + 1)``."""

    insertion: Tensor
    deletion: Tensor


@torch.no_grad()
def insertion_deletion(
    score: Score,
    inputs: Tensor,
    importance: Tensor,
    *,
    baseline: Tensor,
    channel_dim: int | None,
    steps: int = 16,
    chunk: int = 64,
) -> Curves:
    """The score while the most important positions are put into the baseline, and while they are taken from the input.

    A map that found what the score rests on makes insertion rise at once and deletion fall at once: ``area`` is large
    for insertion and small for deletion. Both are to be read beside those of a map of noise (RISE, Petsiuk et al.,
    2018, arXiv:1806.07421). Equal values are taken in a fixed shuffled order. ``2 * steps`` rows are scored for each
    sample, as one curve ends where the other begins.

    Args:
        score: what is asked of the model.
        inputs: ``(K, ...)``.
        importance: ``(K, *spatial)``, the largest value first; of unsigned methods the caller takes the absolute.
        baseline: what a position holds that is not there; broadcasts to ``inputs``.
        channel_dim: the dimension of ``inputs`` that ``importance`` lacks, None for none.
        steps: steps from none to all of the ``N`` positions, each of ``N / steps`` rounded to whole positions.
        chunk: rows that are scored at once, at most.

    Example:
        >>> x, none = torch.tensor([[1.0, 4.0, 2.0]]), torch.zeros(1)
        >>> insertion_deletion(lambda rows, which: rows.sum(1), x, x, baseline=none, channel_dim=None, steps=3)
        Curves(insertion=tensor([[0., 4., 6., 7.]]), deletion=tensor([[7., 3., 1., 0.]]))
    """
    rank = order(importance).argsort(dim=1).view(importance.shape)
    baseline = baseline.expand_as(inputs)

    def of_part(part: Tensor) -> Tensor:
        which = part // (2 * steps)
        kept = over_channels(_kept(rank[which], part % (2 * steps), steps), channel_dim)
        return score(torch.where(kept, inputs[which], baseline[which]), which)

    rows = torch.arange(len(inputs) * 2 * steps, device=inputs.device)
    found = torch.cat([of_part(part) for part in torch.split(rows, chunk)]).view(len(inputs), 2 * steps)
    insertion, between = found[:, : steps + 1], found[:, steps + 1 :]
    return Curves(insertion, torch.cat([insertion[:, -1:], between, insertion[:, :1]], dim=1))


def _kept(rank: Tensor, stage: Tensor, steps: int) -> Tensor:
    """Which positions hold the input: stages up to ``steps`` are of insertion, those after it of deletion."""
    deletes = stage > steps
    step = torch.where(deletes, stage - steps, stage)
    # whole numbers throughout: a float32 share of many positions is off by one here and there
    count = (step * rank[:1].numel() + steps // 2) // steps
    each = (-1, *[1] * (rank.dim() - 1))
    return (rank < count.view(each)) ^ deletes.view(each)


@torch.no_grad()
def area(curve: Tensor) -> Tensor:
    """Mean height ``(...)`` of a curve ``(..., steps + 1)`` by the trapezoid rule, in the unit of the score.

    Example:
        >>> area(torch.tensor([[0.0, 4.0, 6.0, 7.0]])).tolist()
        [4.5]
    """
    return torch.trapezoid(curve, dim=-1) / (curve.shape[-1] - 1)


@torch.no_grad()
def normalised(curve: Tensor, full: Tensor, empty: Tensor) -> Tensor:
    """A curve as a share of the way from the baseline's score to the input's, so that samples can be averaged.

    It leaves 0 to 1 where a part of the input scores higher than all of it, or lower than none; NaN where input and
    baseline score the same.

    Args:
        curve: ``(K, steps + 1)``.
        full: score of the input ``(K,)``, the last of insertion.
        empty: score of the baseline ``(K,)``, the first of insertion.

    Example:
        >>> normalised(torch.tensor([[1.0, 2.0, 5.0]]), full=torch.tensor([5.0]), empty=torch.tensor([1.0])).tolist()
        [[0.0, 0.25, 1.0]]
    """
    way = full - empty
    return (curve - empty[:, None]) / way.where(way != 0, torch.nan)[:, None]
