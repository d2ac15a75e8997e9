"""An exported folder as NVIDIA's Triton Inference Server reads it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from lightning_posttrain import export
from lightning_posttrain.export import Signature, TensorSpec, onnx_signature

_MODEL = "model.onnx"
_TYPES = {"bool": "BOOL", "float16": "FP16", "float32": "FP32", "float64": "FP64"}


def write_triton(folder: str | Path, to: str | Path, *, name: str | None = None, max_batch_size: int = 64) -> Path:
    """Write ``<name>/config.pbtxt`` and ``<name>/1/model.onnx`` into a model repository of Triton.

    Start it with ``tritonserver --model-repository=<to>``. Rows that wait are batched there; a free length is -1; an
    output with one number a row, as a decision, has ``dims: [ 1 ]`` and is reshaped, as the server asks for.

    Args:
        folder: of the export, with an ONNX file.
        to: the repository.
        name: of the model there; None for that of the manifest.
        max_batch_size: rows that are answered together, at most.

    Returns:
        The folder ``<to>/<name>``.

    Raises:
        ValueError: there is no ONNX file, it takes or gives something else than the manifest says or no free batch, or
            the name is none of a folder.
        FileExistsError: the repository has a model of that name.
    """
    model, file = export.load(folder), Path(folder) / _MODEL
    name = model.manifest.name if name is None else name
    if Path(name).name != name or name in ("", "..") or max_batch_size < 1:
        raise ValueError(
            f"`name` and `max_batch_size` are {name!r} and {max_batch_size}, wanted a folder's and 1 or more."
        )
    if not file.is_file():
        raise ValueError(f"`folder` has no {_MODEL}, which Triton runs. Export with the format 'onnx'.")
    _check(model.signature, onnx_signature(file))
    if (Path(to) / name).exists():
        raise FileExistsError(f"'{Path(to) / name}' is there. Remove it, or give another `name`.")
    Path(to).mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=to, prefix=".part-") as work:
        made = Path(work) / name
        (made / "1").mkdir(parents=True)
        for part in file.parent.glob(f"{_MODEL}*"):  # weights of large models are in a file beside it
            shutil.copyfile(part, made / "1" / part.name)
        (made / "config.pbtxt").write_text(triton_config(name, model.signature, max_batch_size=max_batch_size))
        made.rename(Path(to) / name)
    return Path(to) / name


def _check(said: Signature, found: Signature) -> None:
    pairs = [*zip(said.inputs, found.inputs, strict=False), *zip(said.outputs, found.outputs, strict=False)]
    numbers = len(said.inputs) == len(found.inputs) and len(said.outputs) == len(found.outputs)
    if not numbers or not all(_alike(*pair) for pair in pairs):
        raise ValueError(
            f"{_MODEL} is {found.to_dict()}, and the manifest says {said.to_dict()}. Export the model again."
        )


def _alike(said: TensorSpec, found: TensorSpec) -> bool:
    """Whether both may be of one tensor: a length that one leaves free may be known to the other."""
    lengths = zip(said.shape, found.shape, strict=False)
    same = (said.name, said.dtype, len(said.shape)) == (found.name, found.dtype, len(found.shape))
    return same and all(a == b or a is None or b is None for a, b in lengths)


def triton_config(name: str, signature: Signature, *, max_batch_size: int) -> str:
    """The text of ``config.pbtxt``.

    Args:
        name: of the model.
        signature: what it takes and gives.
        max_batch_size: rows that are answered together, at most.

    Example:
        >>> spec = TensorSpec("x", "float32", (None, 1, None))
        >>> print(triton_config("net", Signature((spec,), ()), max_batch_size=8))
        name: "net"
        platform: "onnxruntime_onnx"
        max_batch_size: 8
        input { name: "x" data_type: TYPE_FP32 dims: [ 1, -1 ] }
        dynamic_batching { }
        <BLANKLINE>
    """
    lines = [f"name: {json.dumps(name)}", 'platform: "onnxruntime_onnx"', f"max_batch_size: {max_batch_size}"]
    lines += [f"input {_tensor(spec)}" for spec in signature.inputs]
    lines += [f"output {_tensor(spec)}" for spec in signature.outputs]
    return "\n".join([*lines, "dynamic_batching { }", ""])


def _tensor(spec: TensorSpec) -> str:
    kind = _TYPES.get(spec.dtype, spec.dtype.upper())
    lengths = ", ".join("-1" if length is None else str(length) for length in spec.shape[1:])
    dims = f"dims: [ {lengths} ]" if lengths else "dims: [ 1 ] reshape: { shape: [ ] }"
    return f"{{ name: {json.dumps(spec.name)} data_type: TYPE_{kind} {dims} }}"
