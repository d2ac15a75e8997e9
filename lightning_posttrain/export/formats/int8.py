"""ONNX with weights of 8 bits, and activations where most of the work is convolutions."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, final

from lightning_posttrain.core.output.first_line import first_line
from lightning_posttrain.export.folder.running import FILES
from lightning_posttrain.export.folder.runtime import onnxruntime
from lightning_posttrain.export.formats.base import CalibrationRows, Format
from lightning_posttrain.export.formats.onnx_file import WITH_EXTRA, finished, onnx_named, onnx_opened, parsed
from lightning_posttrain.export.outputs import Runner
from lightning_posttrain.export.program import CannotExportError, Traced
from lightning_posttrain.export.program.quiet import quiet
from lightning_posttrain.export.signature import Array, Signature

CONVOLUTIONS = ("Conv", "ConvTranspose")
PRODUCTS = ("MatMul", "Gemm", "LSTM")


@final
class Int8(Format):
    """Quantisation by onnxruntime.

    Where convolutions hold most of the weights, static, by channel: ranges of activations are measured on
    ``calibration_rows``, which parity should not be measured on. Else dynamic, which needs no rows: weights have 8
    bits, and activations are quantised as they come. Softmax, calibration and thresholds stay in float32.
    """

    name = "int8"
    files = (FILES["int8"],)

    def write(
        self, traced: Traced, folder: Path, manifest_text: str, calibration_rows: CalibrationRows | None = None
    ) -> None:
        """Write ``model.int8.onnx``.

        Raises:
            CannotExportError: there are no rows where they are needed, nothing is quantised, or onnxruntime fails.
        """
        with TemporaryDirectory(dir=folder) as beside, quiet():
            model = _quantised(onnx_named(traced), Path(beside), calibration_rows)
        (folder / self.files[0]).write_bytes(finished(model, traced, manifest_text))

    def opened(self, folder: Path, signature: Signature, *, threads: int = 1) -> Runner:
        """By onnxruntime."""
        return onnx_opened(folder, "int8", signature, threads)


class _Batches:
    """Batches as onnxruntime asks for them."""

    def __init__(self, batches: CalibrationRows) -> None:
        self._left = iter(batches)

    def get_next(self) -> dict[str, Array] | None:
        """The next, None at the end."""
        batch = next(self._left, None)
        return None if batch is None else dict(batch)

    def __iter__(self) -> Iterator[dict[str, Array]]:
        return iter(self.get_next, None)


def _quantised(content: bytes, beside: Path, rows: CalibrationRows | None) -> Any:
    try:
        onnxruntime()
        from onnxruntime.quantization import QuantFormat, quant_pre_process, quantize_dynamic, quantize_static
    except ImportError as error:
        raise CannotExportError("format 'int8' needs onnx and onnxruntime", WITH_EXTRA) from error
    named, ready, made = (beside / f"{name}.onnx" for name in ("named", "ready", "int8"))
    try:
        named.write_bytes(content)
        quant_pre_process(named, ready, skip_symbolic_shape=True)  # the exporter has noted shapes
        static = _is_of_convolutions(parsed(ready.read_bytes()))
        if static:
            reader = _Batches(_checked(rows))
            quantize_static(
                ready, made, reader, quant_format=QuantFormat.QDQ, per_channel=True,
                op_types_to_quantize=[*CONVOLUTIONS, "MatMul", "Gemm"],
            )  # fmt: skip
        else:
            quantize_dynamic(ready, made, op_types_to_quantize=list(PRODUCTS), per_channel=True)
    except CannotExportError:
        raise
    except Exception as error:
        said = f"onnxruntime cannot quantise the model: {type(error).__name__}: {first_line(error, most=200)}"
        raise CannotExportError(said, "Use a newer onnxruntime, or format 'onnx'.") from error
    return parsed(made.read_bytes())


def _checked(rows: CalibrationRows | None) -> CalibrationRows:
    if not rows:
        raise CannotExportError(
            "format 'int8' of a network with convolutions measures ranges on real rows, and there are none",
            "Give rows of training or validation to calibrate on, or leave the format out.",
        )
    return rows


def _is_of_convolutions(model: Any) -> bool:
    """Whether most of the weights that can be quantised are of convolutions."""
    sizes = {one.name: math.prod(one.dims) for one in model.graph.initializer}
    kinds: dict[tuple[str, ...], int] = {
        kind: sum(sizes.get(name, 0) for node in model.graph.node if node.op_type in kind for name in node.input[1:3])
        for kind in (CONVOLUTIONS, PRODUCTS)
    }
    if not any(kinds.values()):
        raise CannotExportError("the network has no weights that format 'int8' can quantise", "Use format 'onnx'.")
    return kinds[CONVOLUTIONS] >= kinds[PRODUCTS]
