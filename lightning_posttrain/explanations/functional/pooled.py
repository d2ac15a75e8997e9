"""A few numbers of each input, which one can read: means over coarse regions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_posttrain.samples.kinds import Kind, channel_dim, channel_name, fits_kind

CELLS, SEGMENTS = 4, 8


class Pooled(NamedTuple):
    """Numbers of each input, and where they come from.

    Args:
        features: ``(N, F)`` float32.
        names: of the ``F`` features.
        parts: the feature that each value of an input belongs to, int64, of the shape of an input, with 1 where one
            feature is of all channels.
    """

    features: Tensor
    names: tuple[str, ...]
    parts: Tensor


def pooled_features(inputs: Tensor, kind: Kind, names: Sequence[str] = ()) -> Pooled:
    """Bring inputs to few features that a tree can ask about.

    Images: the mean of each cell of a grid of 4 × 4, over all channels. Spectrograms: of each of 8 bands, the first
    rows of the array first. Series: of each channel in each of 8 segments; with more than 8 channels, of all together.
    Tabular rows: as they are. Sides shorter than that have a feature for each position.

    Args:
        inputs: ``(N, ...)``.
        kind: what they are.
        names: of the columns of rows, or of the channels of series.

    Raises:
        ValueError: tokens, or inputs of another shape.

    Example:
        >>> pooled = pooled_features(torch.arange(16.0).view(1, 1, 4, 4), "image")
        >>> pooled.features[0, :5].tolist(), pooled.names[4], pooled.parts.shape
        ([0.0, 1.0, 2.0, 3.0, 4.0], 'row 2, column 1', torch.Size([1, 4, 4]))
    """
    if kind == "tokens" or not fits_kind(inputs.shape, kind):
        raise ValueError(
            f"`inputs` is {tuple(inputs.shape)} of kind {kind!r}, wanted images, spectrograms, series or tabular rows. "
            "Pass kind=..., or features of your own."
        )
    parts, labels = _parts(tuple(inputs.shape), kind, inputs.device, names)
    if kind == "tabular":
        return Pooled(inputs.float(), labels, parts)
    where = parts.expand(inputs.shape[1:]).flatten()
    sums = torch.zeros(len(inputs), len(labels), device=inputs.device)
    sums = sums.index_add(1, where, inputs.flatten(1).float())
    return Pooled(sums / where.bincount(minlength=len(labels)), labels, parts)


def _parts(
    shape: tuple[int, ...], kind: Kind, device: torch.device, named: Sequence[str]
) -> tuple[Tensor, tuple[str, ...]]:
    if kind == "tabular":
        return torch.arange(shape[1], device=device), tuple(named) or tuple(f"feature {i}" for i in range(shape[1]))
    channels = channel_dim(shape, kind)
    places = [dim for dim in range(1, len(shape)) if dim != channels]
    if kind == "series":
        return _of_series(shape, places[0], channels, device, named)
    down = _along(shape, places[0], CELLS if kind == "image" else SEGMENTS, device)
    if kind == "spectrogram":
        return down, tuple(f"band {i + 1}" for i in range(int(down.max()) + 1))
    across = _along(shape, places[1], CELLS, device)
    rows, columns = (int(each.max()) + 1 for each in (down, across))
    names = tuple(f"row {i + 1}, column {j + 1}" for i in range(rows) for j in range(columns))
    return down * columns + across, names


def _of_series(
    shape: tuple[int, ...], time: int, channels: int | None, device: torch.device, named: Sequence[str]
) -> tuple[Tensor, tuple[str, ...]]:
    segment = _along(shape, time, SEGMENTS, device)
    count = int(segment.max()) + 1
    if channels is None or not 1 < shape[channels] <= SEGMENTS:
        return segment, tuple(f"segment {i + 1}" for i in range(count))
    channel = _along(shape, channels, shape[channels], device)
    names = tuple(f"{channel_name(c, named)}, segment {i + 1}" for c in range(shape[channels]) for i in range(count))
    return channel * count + segment, names


def _along(shape: tuple[int, ...], dim: int, count: int, device: torch.device) -> Tensor:
    """Number of the piece that each position along ``dim`` is in, of ``count`` of nearly one length; 1 elsewhere."""
    length = shape[dim]
    piece = torch.arange(length, device=device) * min(count, length) // length
    return piece.view(*(length if d == dim else 1 for d in range(1, len(shape))))
