"""Inputs as they come before the normalisation that an exported graph does itself."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from lightning_posttrain.core.capture.batch_parts import Path
from lightning_posttrain.export.run.settings import Settings
from lightning_posttrain.export.signature import Array

BETWEEN = 0.05
"""By which a value may be off a byte, of the distance between two."""
OUTSIDE = 0.02
"""Share of the range of bytes by which what a normalisation is undone to may lie outside of it."""


def raw_inputs(parts: Mapping[Path, Tensor], slots: Mapping[str, Path], settings: Settings) -> dict[str, Tensor]:
    """Rows of a loader as a client would send them: by name, the normalisation undone, bytes where these are wanted.

    Args:
        parts: what a step gave to its network, by path, on the CPU.
        slots: by input, its path; the first of floats is the one that is normalised.
        settings: with mean, std and ``uint8``.

    Raises:
        ValueError: mean and std are of other channels, or do not give bytes.
    """
    found = {name: parts[path] for name, path in slots.items()}
    name = next((name for name, tensor in found.items() if tensor.is_floating_point()), None)
    if settings.uint8 and any(tensor.dtype == torch.uint8 for tensor in found.values()):
        raise ValueError("`uint8` is True, and the network takes bytes itself. Leave uint8 out.")
    if name is None:
        if settings.mean is not None or settings.uint8:
            raise ValueError("`mean`, `std` and `uint8` are for an input of floats, and the network takes none.")
    elif settings.mean is not None or settings.uint8:
        exact = found[name].dtype in (torch.float32, torch.float64)
        found[name] = _as_it_came(found[name].float(), settings, name, exact=exact)
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
