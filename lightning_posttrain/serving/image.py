"""Rows made of PNG and JPEG files, for models that take pictures."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from PIL import Image, ImageOps

from lightning_posttrain.export import Manifest, TensorSpec
from lightning_posttrain.serving.answering import Array, Row
from lightning_posttrain.serving.refusal import RefusedError

MAGIC = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")
FORMATS = ("PNG", "JPEG")
MOST_PIXELS = 4096 * 4096
MODES = {1: "L", 3: "RGB", 4: "RGBA"}
"""Of Pillow, by the number of channels."""
COLORS = {**MODES, 1: "grey"}
DEEP = ("I", "I;16", "I;16B", "I;16L", "I;16N")
"""Grey of 16 bits."""
OPEN_RANGE = 0.01
"""By which what a model was fed may lie outside 0 to 1."""


@final
@dataclass(frozen=True)
class Pictures:
    """How a picture becomes a row.

    Args:
        spec: of the input.
        channels: 1, 3 or 4.
        first: whether channels come before height and width; None where there is no dimension of channels.
        height: in pixels, None where any will do.
        width: in pixels, None where any will do.
    """

    spec: TensorSpec
    channels: int
    first: bool | None
    height: int | None
    width: int | None

    @property
    def size(self) -> str:
        """Width and height in words."""
        return f"{self.width or 'any'} × {self.height or 'any'}"

    @property
    def words(self) -> str:
        """What is taken, and what becomes of its values."""
        scale = "divided by 255, those of 16 bits by 65535" if np.dtype(self.spec.dtype).kind == "f" else "0 to 255"
        return (
            f"PNG or JPEG of {self.size} pixels (width × height), in {COLORS[self.channels]}, not resized, turned "
            f"upright by EXIF, values {scale}"
        )


def is_picture(body: bytes) -> bool:
    """Whether a file begins as PNG or JPEG does."""
    return body.startswith(MAGIC)


def pictures(manifest: Manifest) -> Pictures | str:
    """How a picture becomes a row of a model, or why it does not."""
    inputs = manifest.signature.inputs
    if len(inputs) > 1:
        return "the model has several inputs"
    found = _layout(inputs[0])
    if found is None or np.dtype(inputs[0].dtype).kind not in "fu":
        return f"the model takes {inputs[0].words}, which is no picture"
    statistics = manifest.input_statistics.get(inputs[0].name)
    if np.dtype(inputs[0].dtype).kind == "f" and statistics is not None:
        low, high = float(np.min(statistics["low"])), float(np.max(statistics["high"]))
        if low < -OPEN_RANGE or high > 1 + OPEN_RANGE:
            return (
                f"a picture has values from 0 to 1, and the model was tested with values from {low:.4g} to {high:.4g}; "
                f"send rows that were prepared as for the test, or export with `mean` and `std`"
            )
    return found


def _layout(spec: TensorSpec) -> Pictures | None:
    sizes = spec.shape[1:]
    if len(sizes) == 2:
        return Pictures(spec, 1, None, *sizes)
    if len(sizes) != 3:
        return None
    if sizes[0] in MODES:
        return Pictures(spec, sizes[0], True, *sizes[1:])
    return Pictures(spec, sizes[2], False, *sizes[:2]) if sizes[2] in MODES else None


def row(body: bytes, manifest: Manifest) -> Row:
    """A picture as the model takes it.

    It is never resized: letterboxing and interpolation that differ from those of the test are what most often makes
    the answers of a deployed model others than those that were tested.

    Raises:
        RefusedError: the model takes no pictures, or this one is broken, animated, transparent, or of another size.
    """
    wanted = pictures(manifest)
    if isinstance(wanted, str):
        raise RefusedError(422, f"The body is a picture, and {wanted}.")
    try:
        values = _values(body, wanted)
    except RefusedError:
        raise
    except Exception as error:  # whatever a broken file makes a decoder raise
        raise RefusedError(422, f"The picture cannot be decoded: {type(error).__name__}: {error}.") from None
    return {wanted.spec.name: _arranged(values, wanted)}


def _values(body: bytes, wanted: Pictures) -> Array:
    """Of the upright picture, ``(H, W)`` or ``(H, W, C)``, from 0 to 1."""
    with Image.open(io.BytesIO(body), formats=FORMATS) as opened:
        _check_before_decoding(opened, wanted)
        opened.load()
        upright = ImageOps.exif_transpose(opened)
    if not _fits(*upright.size, wanted):
        raise RefusedError(422, f"The picture is {upright.width} × {upright.height} pixels, wanted {wanted.size}.")
    if upright.mode in DEEP:
        deep = np.asarray(upright, dtype=np.float32) / 65535
        return deep if wanted.channels == 1 else np.stack([deep] * 3, -1)
    return np.asarray(_converted(upright, wanted.channels), dtype=np.float32) / 255


def _check_before_decoding(opened: Image.Image, wanted: Pictures) -> None:
    width, height = opened.size
    if width * height > MOST_PIXELS:
        raise RefusedError(413, f"The picture is {width} × {height} pixels, wanted at most {MOST_PIXELS} in all.")
    # EXIF may turn it by a quarter
    if not (_fits(width, height, wanted) or _fits(height, width, wanted)):
        found = f"{width} × {height} pixels"
        raise RefusedError(422, f"The picture is {found}, wanted {wanted.size}. Resize it as for the test.")
    if opened.format == "PNG" and getattr(opened, "n_frames", 1) > 1:
        raise RefusedError(422, "The picture is animated, wanted one frame.")
    if opened.mode == "CMYK" or (opened.mode in DEEP and wanted.channels == 4):
        raise RefusedError(422, f"The picture is {opened.mode}, wanted {MODES[wanted.channels]}. Convert it first.")


def _fits(width: int, height: int, wanted: Pictures) -> bool:
    return wanted.width in (None, width) and wanted.height in (None, height)


def _converted(upright: Image.Image, channels: int) -> Image.Image:
    """In the mode that is wanted; transparency is not dropped in silence."""
    if channels != 4 and upright.has_transparency_data:
        with_alpha = upright.convert("RGBA")
        lowest: Any = with_alpha.getchannel("A").getextrema()[0]
        if lowest < 255:
            raise RefusedError(422, "The picture has transparent pixels, wanted none. Lay it on the test's background.")
        upright = with_alpha.convert("RGB")
    return upright.convert(MODES[channels])


def _arranged(values: Array, wanted: Pictures) -> Array:
    dtype = np.dtype(wanted.spec.dtype)
    if values.ndim == 2 and wanted.first is not None:
        values = values[..., None]
    if wanted.first:
        values = np.moveaxis(values, -1, 0)
    if dtype.kind == "u":
        values = np.rint(values * 255)
    return np.ascontiguousarray(values, dtype=dtype)
