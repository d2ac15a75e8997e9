"""A picture as the bytes of a file, encoded once for all sinks."""

from __future__ import annotations

import io
from weakref import WeakKeyDictionary

from PIL import Image as PILImage

from lightning_posttrain.core.output.artifacts import Image

SUFFIXES = (".png", ".jpg")
"""Those that a picture may have."""
LARGEST_JPEG = 65_500
"""Pixels a side, by the format."""
_encoded: WeakKeyDictionary[Image, bytes] = WeakKeyDictionary()


def encoded(image: Image) -> tuple[str, bytes]:
    """Suffix and content: JPEG of quality 90 for a photograph, else PNG.

    Example:
        >>> import torch
        >>> suffix, content = encoded(Image(torch.zeros(2, 3, 3, dtype=torch.uint8)))
        >>> suffix, content[1:4]
        ('.png', b'PNG')
    """
    jpeg = image.photo and max(image.pixels.shape) <= LARGEST_JPEG
    if image not in _encoded:
        buffer = io.BytesIO()
        picture = PILImage.fromarray(image.pixels.numpy())
        if jpeg:
            # 4:4:4: with colours at half the resolution, coloured text would have fringes
            picture.save(buffer, format="JPEG", quality=90, subsampling=0)
        else:
            # a quarter of the time less than the default level, and some percent more bytes
            picture.save(buffer, format="PNG", compress_level=1)
        _encoded[image] = buffer.getvalue()
    return SUFFIXES[jpeg], _encoded[image]
