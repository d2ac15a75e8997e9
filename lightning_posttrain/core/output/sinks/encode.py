"""A picture as the bytes of a file, encoded once for all sinks."""

from __future__ import annotations

import io
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from PIL import Image as PILImage

from lightning_posttrain.core.output.artifacts import Image, Picture

SUFFIXES = (".png", ".jpg")
"""Those that a picture may have."""
LARGEST_JPEG = 65_500
"""Pixels a side, by the format."""
_encoded: WeakKeyDictionary[Image, Picture] = WeakKeyDictionary()


def encoded(image: Image) -> Picture:
    """JPEG of quality 90 for a photograph, else PNG.

    Example:
        >>> import torch
        >>> picture = encoded(Image(torch.zeros(2, 3, 3, dtype=torch.uint8)))
        >>> picture.suffix, picture.content[1:4]
        ('.png', b'PNG')
    """
    if image not in _encoded:
        jpeg = image.photo and max(image.pixels.shape) <= LARGEST_JPEG
        buffer = io.BytesIO()
        picture = PILImage.fromarray(image.pixels.numpy())
        if jpeg:
            # 4:4:4: with colours at half the resolution, coloured text would have fringes
            picture.save(buffer, format="JPEG", quality=90, subsampling=0)
        else:
            # a higher level takes four times as long for the last twentieth of the bytes
            picture.save(buffer, format="PNG", compress_level=6)
        height, width = image.pixels.shape[:2]
        _encoded[image] = Picture(buffer.getvalue(), SUFFIXES[jpeg], height, width)
    return _encoded[image]


def decoded(picture: Picture) -> Any:
    """The pixels ``(H, W, 3)`` as a NumPy array."""
    return np.asarray(PILImage.open(io.BytesIO(picture.content)).convert("RGB"))
