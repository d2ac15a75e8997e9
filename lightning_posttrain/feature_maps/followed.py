"""A layer that is followed over the epochs: what is drawn of it keeps its place and its colours."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_posttrain.feature_maps.functional import (
    Moments,
    aligned,
    as_colors,
    border_ratio,
    dead_share,
    effective_rank,
    energy,
    in_their_places,
    principal_scores,
    spectrum,
    varying,
)
from lightning_posttrain.feature_maps.result import StageMaps

CHANNELS = 8


class FollowedStage:
    """Makes pictures of one layer that can be compared from epoch to epoch.

    A channel that is still among those that vary most stays where it was drawn, and components have the order and the
    signs in which the same samples look most like before.

    Args:
        name: dotted name of the layer.
        layer: name of its class.
    """

    def __init__(self, name: str, layer: str) -> None:
        self.name = name
        self.layer = layer
        self._channels: list[int] = []
        self._scores: Tensor | None = None

    def maps(self, moments: Moments, drawn: Tensor) -> StageMaps:
        """What is drawn of maps ``(K, C, *grid)``, with the figures of all samples."""
        self._channels = in_their_places(varying(moments, CHANNELS), self._channels)
        colors, explained, rank = self._colored(moments, drawn)
        drawn = drawn.nan_to_num(0.0, 0.0, 0.0)
        power = energy(drawn)
        return StageMaps(
            self.name, self.layer, tuple(drawn.shape[1:]), dead_share(moments), rank, border_ratio(moments),
            moments.least < 0, tuple(self._channels), explained, float(power.max()), power, drawn[:, self._channels],
            colors,
        )  # fmt: skip

    def _colored(self, moments: Moments, drawn: Tensor) -> tuple[Tensor, tuple[float, ...], float]:
        """Colours, the share of the variance of each, and the effective rank."""
        covariance = moments.covariance
        if not bool(covariance.isfinite().all()):
            grey = torch.full((len(drawn), *drawn.shape[2:], 3), 0.5)
            return grey, (), float("nan")
        values, vectors = spectrum(covariance)
        mean = moments.sums.flatten(1).sum(1) / (moments.rows * moments.sums[0].numel())
        scores = principal_scores(drawn, mean, vectors[:, :3])
        order = list(range(scores.shape[-1]))
        if self._scores is not None and self._scores.shape == scores.shape:
            order, signs = aligned(scores, self._scores)
            scores = scores[..., order] * signs
        self._scores = scores
        total = float(values.sum())
        explained = tuple(float(values[place]) / total if total else 0.0 for place in order)
        return as_colors(scores), explained, effective_rank(values)
