"""Running the files of an exported folder: with onnxruntime, or with torch where a program of it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from lightning_posttrain.core.output.first_line import first_line
from lightning_posttrain.export.folder.pt2 import load_program
from lightning_posttrain.export.folder.runtime import onnxruntime
from lightning_posttrain.export.outputs import Outputs, Runner
from lightning_posttrain.export.signature import DECISION, PROBABILITIES, Array, Signature, TensorSpec

Running = Literal["onnx", "pt2", "int8"]
FILES: Mapping[Running, str] = {"onnx": "model.onnx", "pt2": "model.pt2", "int8": "model.int8.onnx"}
"""Name of the file of each format that can be run, the first choice first."""


def opened(
    folder: Path, kind: Running, signature: Signature, *, threads: int = 1, providers: Sequence[Any] | None = None
) -> Runner:
    """What runs one format of a folder.

    Args:
        folder: of the export.
        kind: ``"onnx"``, ``"pt2"`` or ``"int8"``.
        signature: what the model takes.
        threads: of the processor for one call.
        providers: of onnxruntime, the first choice first; None for the CPU.

    Raises:
        ValueError: the file cannot be opened, takes or gives something else, or an argument is wrong.
        ImportError: onnxruntime, or torch for a ``.pt2``, is not installed.
    """
    if kind not in get_args(Running):
        raise ValueError(f"`format` is {kind!r}, wanted one of {', '.join(get_args(Running))}.")
    if threads < 1:
        raise ValueError(f"`threads` is {threads}, wanted 1 or more.")
    path = folder / FILES[kind]
    if not path.is_file():
        there = [name for name, file in FILES.items() if (folder / file).is_file()]
        raise ValueError(f"`format` is {kind!r}, and '{path.name}' is not in the folder, which has {there or 'none'}.")
    if kind == "pt2":
        if providers is not None:
            raise ValueError("`providers` are onnxruntime's, and `format` is 'pt2'. Leave them out.")
        return _program(path, signature, threads)
    return _session(path, signature, threads, providers)


def _session(path: Path, signature: Signature, threads: int, providers: Sequence[Any] | None) -> Runner:
    runtime = onnxruntime()
    wanted = list(providers or ["CPUExecutionProvider"])
    named = [each if isinstance(each, str) else each[0] for each in wanted]
    if missing := set(named) - set(runtime.get_available_providers()):
        has = runtime.get_available_providers()
        raise ValueError(f"`providers` has {sorted(missing)}, and this onnxruntime has {has}.")
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 4
    try:
        session = runtime.InferenceSession(str(path), options, providers=wanted)
    except Exception as error:
        said = first_line(error, most=500)
        raise ValueError(f"'{path.name}' cannot be opened by onnxruntime {runtime.__version__}: {said}") from error
    _check_names(
        path, [each.name for each in session.get_inputs()], [each.name for each in session.get_outputs()], signature
    )

    def run(rows: Mapping[str, Array]) -> Outputs:
        return Outputs(*session.run([PROBABILITIES, DECISION], dict(rows)))

    return _in_words(path, run, signature)


def _check_names(path: Path, inputs: list[str], outputs: list[str], signature: Signature) -> None:
    names = [spec.name for spec in signature.inputs]
    if sorted(inputs) != sorted(names) or not {PROBABILITIES, DECISION} <= set(outputs):
        raise ValueError(
            f"'{path.name}' takes {inputs} and gives {outputs}, the manifest says {names} and "
            f"{[PROBABILITIES, DECISION]}. Export the model again."
        )


def _program(path: Path, signature: Signature, threads: int) -> Runner:
    return torch_runner(path, load_program(path).module(), signature, threads)


def torch_runner(path: Path, module: Callable[..., Any], signature: Signature, threads: int) -> Runner:
    """What runs a module of torch on arrays.

    Args:
        path: of its file, for errors.
        module: takes one tensor for each input.
        signature: names of the inputs.
        threads: while it runs.
    """
    import torch

    def run(rows: Mapping[str, Array]) -> Outputs:
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            with torch.inference_mode(), torch.autocast("cpu", enabled=False):
                given = [torch.from_numpy(np.array(rows[spec.name])) for spec in signature.inputs]
                probabilities, decision = module(*given)
                return Outputs(probabilities.numpy(), decision.numpy())
        finally:
            torch.set_num_threads(before)

    return _in_words(path, run, signature)


def _in_words(path: Path, run: Callable[[Mapping[str, Array]], Outputs], signature: Signature) -> Runner:
    """Errors of a runtime as one of Python's, with what was given; an answer of another form is one."""
    specs = [next(spec for spec in signature.outputs if spec.name == name) for name in (PROBABILITIES, DECISION)]

    def running(rows: Mapping[str, Array]) -> Outputs:
        try:
            found = run(rows)
            for spec, array in zip(specs, found, strict=True):
                if not _is_of(spec, array):
                    raise ValueError(f"it gives {spec.name} {array.dtype} {array.shape}, wanted {spec.words}")
            return found
        except Exception as error:
            given = ", ".join(f"'{name}' {array.dtype} {array.shape}" for name, array in rows.items())
            raise RuntimeError(f"'{path.name}' failed on {given}: {first_line(error, most=500)}") from error

    return running


def _is_of(spec: TensorSpec, array: Array) -> bool:
    sizes = zip(spec.shape[1:], array.shape[1:], strict=False)
    same = array.dtype.name == spec.dtype and array.ndim == len(spec.shape)
    return same and all(wanted in (None, found) for wanted, found in sizes)
