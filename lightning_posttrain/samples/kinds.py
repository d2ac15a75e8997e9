"""What a batch of inputs is, told from its shape, and how it looks to the eye."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

Kind = Literal["image", "spectrogram", "series", "tabular", "tokens"]
NEARLY_ALL = (0.005, 0.995)
QUANTILES = 1 << 20
"""Values of which quantiles are taken at most."""


def kind_of(inputs: Tensor) -> Kind | None:
    """What a batch is: images, series, tabular rows or tokens; None for other shapes.

    Floats ``(N, F)`` are rows, and series where they have more than 256 values; whole numbers ``(N, T)`` tokens.
    ``(N, A, B)`` are grey images where no side is more than four times the other and none below 8, else series.
    ``(N, C, H, W)`` and ``(N, H, W, C)`` are images, but for what could as well be channels of a series, as
    ``(N, 11, 60, 1)``: with such sides that is no image.

    Example:
        >>> [kind_of(torch.zeros(shape)) for shape in ((8, 1, 28, 28), (8, 30), (8, 3, 100), (8, 2, 3, 4, 5))]
        ['image', 'tabular', 'series', None]
    """
    shape = inputs.shape[1:]
    if len(shape) == 1:
        whole = not inputs.is_floating_point() and inputs.dtype != torch.bool
        return "tokens" if whole else "series" if shape[0] > 256 else "tabular"
    if len(shape) == 2:
        return "image" if _sides_of_an_image(shape) else "series"
    return "image" if len(shape) == 3 and sorted(shape)[1] >= 4 and not is_unclear(shape) else None


def is_unclear(shape: Sequence[int]) -> bool:
    """Whether a sample ``(A, B, 1)`` or ``(A, B, 3)`` may be an image whose channels stand last, or something else."""
    return len(shape) == 3 and shape[0] not in (1, 3) and shape[2] in (1, 3) and not _alike(shape[:2])


def _sides_of_an_image(sides: Sequence[int]) -> bool:
    return min(sides) >= 8 and _alike(sides)


def _alike(sides: Sequence[int]) -> bool:
    return max(sides) <= 4 * min(sides)


def channel_dim(shape: Sequence[int], kind: Kind) -> int | None:
    """The dimension of the channels in a batch ``(N, ...)``, or None where it has none.

    Example:
        >>> channel_dim((8, 3, 32, 32), "image"), channel_dim((8, 32, 32, 3), "image"), channel_dim((8, 9), "tabular")
        (1, 3, None)
    """
    if len(shape) == 4:
        last = shape[1] not in (1, 3) and (shape[3] in (1, 3) or (shape[3] < 5 and shape[1] == shape[2]))
        return 3 if last else 1
    if len(shape) == 3 and kind == "series":
        return 2 if shape[2] < shape[1] else 1
    return None


def channel_name(channel: int, names: Sequence[str] = ()) -> str:
    """What a channel is called wherever it is named: its own name, else its number, the first of which is 0.

    Example:
        >>> channel_name(1), channel_name(1, ["voltage", "slope"])
        ('channel 1', 'slope')
    """
    return str(names[channel]) if channel < len(names) else f"channel {channel}"


def fits_kind(shape: Sequence[int], kind: Kind) -> bool:
    """Whether a batch of this shape can be what it is said to be."""
    dims = {"image": (3, 4), "spectrogram": (3, 4), "series": (2, 3), "tabular": (2,), "tokens": (2,)}
    return len(shape) in dims[kind]


def known_kind(inputs: Any, kind: Kind | None) -> Kind | None:
    """What inputs are, as it is said or told from their shape; None where they are no batch of that.

    Example:
        >>> known_kind(torch.zeros(8, 30), None), known_kind(torch.zeros(8, 30), "image"), known_kind([], None)
        ('tabular', None, None)
    """
    if not isinstance(inputs, Tensor):
        return None
    if kind is None:
        return kind_of(inputs)
    return kind if fits_kind(inputs.shape, kind) else None


def to_display(
    images: Tensor,
    dim: int | None,
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    bands: Sequence[int] | None = None,
    together: bool = False,
) -> Tensor:
    """Bring a batch of images to ``(N, H, W, 3)`` float32 in 0 to 1, for the eye.

    With ``mean`` and ``std`` the normalisation is undone. Else values that lie in 0 to 1 are kept, whole numbers are of
    255, and others are stretched, all channels alike.

    Args:
        images: ``(N, C, H, W)``, ``(N, H, W, C)`` or ``(N, H, W)``.
        dim: the dimension of the channels, or None.
        mean: of each channel, as a normalisation took off.
        std: of each channel, as it divided by.
        bands: channels shown as red, green and blue. Default: of two channels the mean, of more than three the first.
        together: stretch all images alike, between the ends of nearly all values; else each between its own.

    Example:
        >>> to_display(torch.tensor([[[[-1.0, 3.0]]]]), 1).flatten().tolist()
        [0.0, 0.0, 0.0, 1.0, 1.0, 1.0]
    """
    images = images if images.is_floating_point() else images / 255
    images = images.float().unsqueeze(3) if dim is None else images.float().movedim(dim, 3)
    if mean is not None or std is not None:
        images = images * torch.tensor(1.0 if std is None else std) + torch.tensor(0.0 if mean is None else mean)
    images = _three(images, bands)
    if mean is not None or std is not None:
        return images.clamp(0, 1).nan_to_num(0.0)
    if bool((images < 0).any() | (images > 1).any()):
        if together:
            low, high = map(torch.tensor, ends(images))
        else:
            low, high = (f(images.nan_to_num(0.0).flatten(1), 1).view(-1, 1, 1, 1) for f in (torch.amin, torch.amax))
        images = ((images - low) / torch.where(high > low, high - low, 1.0)).clamp(0, 1)
    return images.nan_to_num(0.0)


def ends(values: Tensor) -> tuple[float, float]:
    """Between which nearly all of the finite values lie, by those at some places where they are very many.

    Example:
        >>> ends(torch.tensor([0.0, 1.0, float("nan")])), ends(torch.zeros(0))
        ((0.0, 1.0), (0.0, 0.0))
    """
    some = values.flatten()[:: max(values.numel() // QUANTILES, 1)]
    some = some[some.isfinite()]
    if not len(some):
        return 0.0, 0.0
    low, high = some.float().quantile(torch.tensor(NEARLY_ALL, dtype=torch.float32), interpolation="nearest").tolist()
    return (low, high) if high > low else (float(some.min()), float(some.max()))


def _three(images: Tensor, bands: Sequence[int] | None) -> Tensor:
    if bands is not None:
        return images[..., list(bands)]
    if images.shape[3] == 2:
        images = images.mean(3, keepdim=True)
    return images.expand(*images.shape[:3], 3) if images.shape[3] == 1 else images[..., :3]
