"""The layout of a batch of images, told from its shape."""

from __future__ import annotations

import torch
from torch import Tensor


def is_image(shape: tuple[int, ...]) -> bool:
    """Whether a batch of this shape can be drawn as images.

    ``(N, C, H, W)`` or ``(N, H, W, C)`` with 1 or 3 channels and sides of at least 4, or ``(N, H, W)`` with sides of
    at least 8, as a shorter one is rather a sequence of features.

    Example:
        >>> is_image((8, 1, 28, 28)), is_image((8, 224, 224, 3)), is_image((8, 30)), is_image((8, 3, 100))
        (True, True, False, False)
    """
    if len(shape) == 3:
        return min(shape[1:]) >= 8
    if len(shape) != 4:
        return False
    first = shape[1] in (1, 3) and min(shape[2:]) >= 4
    last = shape[3] in (1, 3) and min(shape[1:3]) >= 4
    return first or last


def channel_dim(shape: tuple[int, ...]) -> int | None:
    """The dimension of the channels in a batch for which ``is_image`` holds, None for ``(N, H, W)``."""
    if len(shape) == 3:
        return None
    return 1 if shape[1] in (1, 3) else 3


def to_display(images: Tensor) -> Tensor:
    """Bring a batch of images to ``(N, H, W, 3)`` float32 in 0 to 1, for the eye.

    Values that lie in 0 to 1 are kept, whole numbers are of 255; others, as normalised ones, are stretched for each
    image.

    Example:
        >>> to_display(torch.tensor([[[[-1.0, 3.0]]]])).flatten().tolist()
        [0.0, 0.0, 0.0, 1.0, 1.0, 1.0]
    """
    dim = channel_dim(tuple(images.shape))
    images = images if images.is_floating_point() else images / 255
    images = images.float().unsqueeze(3) if dim is None else images.float().movedim(dim, 3)
    images = images.expand(*images.shape[:3], 3)
    if bool((images < 0).any() | (images > 1).any()):
        low, high = images.flatten(1).amin(1), images.flatten(1).amax(1)
        scale = torch.where(high > low, high - low, 1.0)
        images = (images - low.view(-1, 1, 1, 1)) / scale.view(-1, 1, 1, 1)
    return images.nan_to_num(0.0)
