"""How the values of images become colours: by the normalisation that is known, or that the values tell."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lightning_posttrain.samples.kinds import ends
from lightning_posttrain.samples.normalization import Normalization, normalization_of

IMAGENET = Normalization((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF = Normalization((0.5,), (0.5,))
LOOKED_AT = 1 << 18
"""Values of a batch that are looked at."""
ROOM = 0.02
"""How far beyond 0 to 1 an image may lie that was resampled."""
UNDONE = "Colours: the dataset's Normalize undone."
GUESSED = "Colours: ImageNet's normalisation undone, as the values say; pass mean= and std= if it is another."
HALVED = "Colours: values of −1 to 1 shown as 0 to 1; pass mean= and std= for others."
STRETCHED = "Colours stretched; pass mean= and std= for the true ones."
BRIGHTENED = "Brightness stretched; pass mean= and std= for the true one."


class Colors(NamedTuple):
    """From values to what is shown, ``values * std + mean``, or as ``to_display`` does; in words, or ""."""

    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    said: str = ""


def colors_of(images: Tensor, dim: int | None, sources: Iterable[Any] = ()) -> Colors:
    """How a batch of images is shown for which the user has said nothing.

    Values of 0 to 1, and whole numbers, are shown as they are. Else, in this order: the normalisation of a dataset's
    transforms, if it brings the values back to 0 to 1; ImageNet's, or that of 0.5, if values of three channels lie as
    these would bring them; one scale for all channels of all images that are shown.

    Args:
        images: ``(N, C, H, W)``, ``(N, H, W, C)`` or ``(N, H, W)``.
        dim: the dimension of the channels, or None.
        sources: loaders or datasets whose transforms are looked through.

    Example:
        >>> gray = torch.tensor([0.0, 0.6, 0.6, 1.0]).expand(1, 3, 1, 4)
        >>> given = (gray - torch.tensor(IMAGENET.mean).view(3, 1, 1)) / torch.tensor(IMAGENET.std).view(3, 1, 1)
        >>> colors_of(given, 1).said == GUESSED, colors_of(gray, 1).said
        (True, '')
    """
    if not images.is_floating_point():
        return Colors()
    pixels = _pixels(images, dim)
    if not len(pixels) or _lies_in(pixels, 0.0, 1.0):
        return Colors()
    known = {found for source in sources if (found := normalization_of(source)) is not None}
    for found in known:
        if len(known) == 1 and _suits(pixels, found):
            return Colors(*found, UNDONE)
    if pixels.shape[1] == 3:
        for guess, said in ((HALF, HALVED), (IMAGENET, GUESSED)):
            if _lies_in(_undone(pixels, guess), 0.0, 1.0, room=0.005):
                return Colors(*guess, said)
    return Colors(said=STRETCHED if pixels.shape[1] > 2 else BRIGHTENED)


def _pixels(images: Tensor, dim: int | None) -> Tensor:
    """Some pixels ``(M, C)`` of all images, without those that are not finite."""
    last = images.detach().unsqueeze(-1) if dim is None else images.detach().movedim(dim, -1)
    pixels = last.reshape(-1, last.shape[-1])
    step = max(pixels.numel() // LOOKED_AT, 1)
    some = pixels[::step].float().cpu()
    return some[some.isfinite().all(1)]


def _undone(pixels: Tensor, by: Normalization) -> Tensor:
    return pixels * torch.tensor(by.std) + torch.tensor(by.mean)


def _suits(pixels: Tensor, found: Normalization) -> bool:
    """Whether a normalisation is of as many channels, and its values lie in 0 to 1 without it."""
    if {len(found.mean), len(found.std)} - {1, pixels.shape[1]}:
        return False
    low, high = ends(_undone(pixels, found))
    return low >= -ROOM and high <= 1 + ROOM


def _lies_in(pixels: Tensor, low: float, high: float, *, room: float = 0.0) -> bool:
    return bool((pixels >= low - room).all() & (pixels <= high + room).all())
