"""What an ONNX file says that it takes and gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning_posttrain.export.folder.runtime import onnxruntime
from lightning_posttrain.export.signature import Signature, TensorSpec

_TYPES = {"float": "float32", "double": "float64"}


def onnx_signature(file: Path) -> Signature:
    """Names, types and shapes of the inputs and outputs of an ONNX file, as onnxruntime reads them.

    Args:
        file: of the model.

    Raises:
        ValueError: a tensor has no free batch.
        ImportError: onnxruntime is not installed.
    """
    session = onnxruntime().InferenceSession(str(file), providers=["CPUExecutionProvider"])
    return Signature(tuple(map(_spec, session.get_inputs())), tuple(map(_spec, session.get_outputs())))


def _spec(tensor: Any) -> TensorSpec:
    """Of onnxruntime's ``tensor(float)``; free lengths are names or None there."""
    kind = tensor.type.removeprefix("tensor(").removesuffix(")")
    shape = tuple(length if isinstance(length, int) else None for length in tensor.shape)
    if not shape or shape[0] is not None:
        raise ValueError(
            f"'{tensor.name}' has shape {tensor.shape}, which has no free batch. Export the model with one."
        )
    return TensorSpec(tensor.name, _TYPES.get(kind, kind), shape)
