"""Histograms of scores brought over to other bins, as to those of all classes together, or of another rank."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_posttrain.classification.functional.histograms import PLACES, bin_of, edge_at


def moved(counts: Tensor, axis: Tensor, onto: Tensor, bins: int, *, position: float) -> Tensor:
    """Counts over another axis ``(2, C, bins)``, or ``(2, 1, bins)``.

    Args:
        counts: ``(2, C, T)``.
        axis: theirs ``(C, 2)``.
        onto: the other ``(C, 2)``, or ``(1, 2)`` to bring all classes together.
        bins: of the other.
        position: in its bin at which each score is taken to stand, one of ``PLACES``.
    """
    k, t = counts[0].nonzero().t()
    group = torch.zeros_like(k) if len(onto) == 1 else k
    places = edge_at(t + position, axis[k], counts.shape[2])
    cells = group * bins + bin_of(places[:, None], onto[group], bins)[:, 0]
    found = counts.new_zeros(2, len(onto) * bins)
    return found.index_add_(1, cells, counts[:, k, t]).view(2, len(onto), bins)


def moved_at_each_place(tables: Tensor, axis: Tensor, onto: Tensor) -> Tensor:
    """Counts ``(3, 2, C, T)`` over another axis, with each score at each of ``PLACES`` in its bin.

    Args:
        tables: ``(1, 2, C, T)``, or ``(3, 2, C, T)`` of scores that were moved before.
        axis: theirs ``(C, 2)``.
        onto: the other.
    """
    if torch.equal(axis, onto):
        return tables.expand(len(PLACES), -1, -1, -1)
    several = zip(tables.expand(len(PLACES), -1, -1, -1), PLACES, strict=True)
    return torch.stack([moved(counts, axis, onto, tables.shape[3], position=place) for counts, place in several])
