"""Rows of one array in NumPy's own format, without pickles."""

from __future__ import annotations

import io
import math

import numpy as np
from numpy.lib import format as npy_format

from lightning_posttrain.export import Signature
from lightning_posttrain.serving.answering import Array
from lightning_posttrain.serving.refusal import RefusedError

MAGIC = b"\x93NUMPY"
READERS = {(1, 0): npy_format.read_array_header_1_0, (2, 0): npy_format.read_array_header_2_0}
"""Of the header, by the version of the format."""


def rows(body: bytes, signature: Signature) -> Array:
    """The array of a ``.npy`` file, whose first dimension are rows.

    Its header is checked before a byte is taken for what it says: the array is a view of the body, and objects, which
    would be pickles, are refused.

    Raises:
        RefusedError: it is no such file, or the model has several inputs.
    """
    if len(signature.inputs) > 1:
        names = [spec.name for spec in signature.inputs]
        raise RefusedError(422, f'The body is one array, wanted {names}. Send JSON, as {{"inputs": {{...}}}}.')
    shape, columns_first, dtype, begin = _header(body)
    if dtype.hasobject or dtype.names is not None or dtype.itemsize == 0 or not shape or min(shape) < 0:
        raise RefusedError(422, f"The array is {dtype} of shape {shape}, wanted {signature.inputs[0].words}.")
    wanted = math.prod(shape) * dtype.itemsize
    if wanted != len(body) - begin:
        raise RefusedError(422, f"The array has {len(body) - begin} bytes, and its header says {wanted}.")
    values = np.frombuffer(body, dtype, offset=begin)
    return values.reshape(shape, order="F" if columns_first else "C")


def _header(body: bytes) -> tuple[tuple[int, ...], bool, np.dtype[np.generic], int]:
    stream = io.BytesIO(body)
    try:
        version = npy_format.read_magic(stream)
        shape, columns_first, dtype = READERS[version](stream)
    except Exception as error:  # whatever a header that is made to do harm raises
        reason = f"its header cannot be read: {type(error).__name__}: {error}"
        raise RefusedError(400, f"The body is no .npy file: {reason}. Write it with `numpy.save`.") from None
    return shape, columns_first, dtype, stream.tell()
