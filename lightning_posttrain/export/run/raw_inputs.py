"""Inputs as they come before the normalisation that an exported graph does itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lightning_posttrain.export.run.settings import Settings
from lightning_posttrain.export.signature import Array

BETWEEN = 0.05
"""By which a value may be off a byte, of the distance between two."""
OUTSIDE = 0.02
"""Share of the range of bytes by which what a normalisation is undone to may lie outside of it."""


def raw(inputs: Mapping[str, Tensor], settings: Settings) -> dict[str, Tensor]:
    """Rows of a loader as a client would send them: the normalisation undone, bytes where these are wanted.

    Args:
        inputs: by name, on the CPU; the first of floats is the one that is normalised.
        settings: with mean, std and ``uint8``.

    Raises:
        ValueError: mean and std are of other channels, or do not give bytes.
    """
    found = dict(inputs)
    name = next((name for name, tensor in inputs.items() if tensor.is_floating_point()), None)
    if settings.uint8 and any(tensor.dtype == torch.uint8 for tensor in inputs.values()):
        raise ValueError("`uint8` is True, and the network takes bytes itself. Leave uint8 out.")
    if name is None or (settings.mean is None and not settings.uint8):
        if settings.mean is not None:
            raise ValueError("`mean` and `std` are for an input of floats, and the network takes none.")
        return found
    exact = inputs[name].dtype in (torch.float32, torch.float64)
    found[name] = _as_it_came(inputs[name].float(), settings, name, exact=exact)
    return found


def _as_it_came(signal: Tensor, settings: Settings, name: str, *, exact: bool) -> Tensor:
    if settings.mean is not None and settings.std is not None:
        channels = signal.shape[1] if signal.ndim > 1 else 1
        if len(settings.mean) not in (1, channels):
            shape = tuple(signal.shape)
            raise ValueError(
                f"`mean` has {len(settings.mean)} numbers, and `{name}` has shape {shape}: one or {channels}."
            )
        shaped = (-1, *(1,) * (signal.ndim - 2))
        mean, std = (torch.tensor(values).reshape(shaped) for values in (settings.mean, settings.std))
        signal = signal * std + mean
    if not settings.uint8:
        return signal
    low, high = float(signal.min()), float(signal.max())
    if low < -OUTSIDE or high > 1 + OUTSIDE:
        raise ValueError(
            f"`uint8` is True, and without its normalisation `{name}` goes from {low:.3g} to {high:.3g}, wanted 0 to "
            "1. Pass mean and std as your transform has them, for values from 0 to 1."
        )
    steps = signal.clamp(0, 1) * 255
    if exact and float((steps - steps.round()).abs().max()) > BETWEEN:
        raise ValueError(
            f"`uint8` is True, and without its normalisation `{name}` has values between those of bytes. Leave uint8 "
            "out, or resize and blur pictures before they become floats."
        )
    return steps.round().to(torch.uint8)


def arrays(inputs: Mapping[str, Tensor]) -> dict[str, Array]:
    """As a runner takes them; floats in float32."""
    return {
        name: (one.float() if one.is_floating_point() else one).contiguous().numpy() for name, one in inputs.items()
    }


def statistics_of(rows: list[dict[str, Array]]) -> dict[str, dict[str, Any]]:
    """By input, what it was like: lowest, highest, mean and standard deviation, by channel where there are at most 64.

    Args:
        rows: batches, by input.
    """
    found: dict[str, dict[str, Any]] = {}
    for name in rows[0] if rows else ():
        channels = _by_channel([batch[name] for batch in rows])
        if channels is not None:
            low, high, mean, std = (
                [float(f"{value:.6g}") for value in values]
                for values in (channels.min(1), channels.max(1), channels.mean(1), channels.std(1))
            )
            found[name] = {"low": low, "high": high, "mean": mean, "std": std}
    return found


def _by_channel(batches: list[Array]) -> Array | None:
    """Values ``(channels, all others)`` float64; None where there are none."""
    wide = batches[0].ndim > 1 and batches[0].shape[1] <= 64 and len({batch.shape[1] for batch in batches}) == 1
    floats = batches[0].dtype.kind == "f" or batches[0].dtype == np.uint8
    split = [np.moveaxis(b, 1, 0).reshape(b.shape[1], -1) if wide and floats else b.reshape(1, -1) for b in batches]
    joined = np.concatenate(split, axis=1).astype(np.float64)
    return joined if joined.size else None
