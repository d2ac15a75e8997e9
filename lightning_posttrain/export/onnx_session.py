"""Run an ONNX file with onnxruntime, without torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from lightning_posttrain.export.outputs import Outputs, Runner
from lightning_posttrain.export.signature import DECISION, PROBABILITIES, Array


def onnx_runner(model: Path | bytes, *, threads: int = 1, optimized: bool = True) -> Runner:
    """What runs a model on the CPU.

    Args:
        model: a file, or its content.
        threads: for one operation; others wait for it.
        optimized: whether operations are fused, and constants folded.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    levels = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = levels.ORT_ENABLE_ALL if optimized else levels.ORT_DISABLE_ALL
    given = model if isinstance(model, bytes) else str(model)
    session = onnxruntime.InferenceSession(given, options, providers=["CPUExecutionProvider"])

    def run(arrays: Mapping[str, Array]) -> Outputs:
        return Outputs(*session.run([PROBABILITIES, DECISION], dict(arrays)))

    return run
