"""ONNX, of the same trace as the other formats."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, final
from weakref import WeakKeyDictionary

import torch

from lightning_posttrain.core.output.first_line import first_line
from lightning_posttrain.export.folder.running import FILES, Running, opened
from lightning_posttrain.export.folder.runtime import INSTALL
from lightning_posttrain.export.formats.base import CalibrationRows, Format
from lightning_posttrain.export.outputs import Runner
from lightning_posttrain.export.program import CannotExportError, Traced
from lightning_posttrain.export.program.quiet import quiet
from lightning_posttrain.export.signature import DECISION, PROBABILITIES, Signature

WITH_EXTRA = f"Install what it needs: {INSTALL}."
WIDER = (
    "Leave half precision out of the network's forward, as torch.autocast, where it has that; else use format 'pt2'."
)
OTHER = "Use format 'pt2', or another function in its place."
_NAMED: WeakKeyDictionary[Traced, bytes] = WeakKeyDictionary()


@final
class Onnx(Format):
    """ONNX in one file, with a free number of rows, class names and the manifest in its metadata.

    The nodes carry neither names of modules nor lines of source.
    """

    name = "onnx"
    files = (FILES["onnx"],)

    def write(
        self,
        traced: Traced,
        folder: Path,
        manifest_text: str,
        calibration_rows: CalibrationRows | None = None,  # noqa: ARG002 - nothing is measured
    ) -> None:
        """Write ``model.onnx``."""
        model = parsed(onnx_named(traced))
        (folder / self.files[0]).write_bytes(finished(model, traced, manifest_text))

    def opened(self, folder: Path, signature: Signature, *, threads: int = 1) -> Runner:
        """By onnxruntime.

        Raises:
            CannotExportError: it lacks an operation, or the type of one.
        """
        return onnx_opened(folder, "onnx", signature, threads)


def onnx_opened(folder: Path, kind: Running, signature: Signature, threads: int) -> Runner:
    """What runs a file by onnxruntime.

    Raises:
        CannotExportError: it lacks an operation, or the type of one.
    """
    try:
        return opened(folder, kind, signature, threads=threads)
    except ImportError as error:
        raise CannotExportError("an ONNX file is run by onnxruntime, which is missing", WITH_EXTRA) from error
    except ValueError as error:
        raise CannotExportError(str(error)[:300], WIDER) from error


def onnx_named(traced: Traced) -> bytes:
    """The model as the exporter makes it, whose nodes still tell which module they come from.

    Each node's ``pkg.torch.onnx.name_scopes`` lists the dotted names of the modules that it is part of. Names of files
    and lines of source are gone.

    Raises:
        CannotExportError: ONNX has no such operation, or a package is missing.
    """
    if traced not in _NAMED:
        _NAMED[traced] = _converted(traced)
    return _NAMED[traced]


def _converted(traced: Traced) -> bytes:
    names = [spec.name for spec in traced.signature.inputs]
    try:
        with quiet(), torch.no_grad(), torch.autocast("cpu", enabled=False):
            made: Any = torch.onnx.export(
                traced.program, (), dynamo=True, external_data=False, input_names=names,
                output_names=[PROBABILITIES, DECISION], verbose=False,
            )  # fmt: skip
            model = made.model_proto
    except ImportError as error:
        raise CannotExportError(f"ONNX needs a package that is missing: {error.name}", WITH_EXTRA) from error
    except Exception as error:
        raise _refusal(error) from error
    _name_dimensions(model, traced)
    for node in _nodes(model):
        node.doc_string = ""
        kept = [one for one in node.metadata_props if "stack_trace" not in one.key]
        del node.metadata_props[:]
        node.metadata_props.extend(kept)
    try:
        content: bytes = model.SerializeToString()
    except ValueError as error:  # protobuf's own limit
        raise CannotExportError("the model is larger than the 2 GiB of an ONNX file", "Use format 'pt2'.") from error
    return content


def _refusal(error: Exception) -> CannotExportError:
    told = re.search(r"No ONNX function found for.*?'?aten[.:]+([\w.]+)", _whole(error))
    if told:
        return CannotExportError(f"ONNX has no operation for torch's {told.group(1)}", OTHER)
    return CannotExportError(
        f"the trace cannot be made ONNX: {type(error).__name__}: {first_line(error, most=200)}", OTHER
    )


def _whole(error: BaseException | None) -> str:
    return "" if error is None else f"{error}\n{_whole(error.__cause__)}"


def _name_dimensions(model: Any, traced: Traced) -> None:
    """Call the free dimensions ``batch`` and ``length``, where the exporter has numbered symbols."""
    values = {node.name: node.meta.get("val") for node in traced.program.graph.nodes}
    names: dict[str, str] = {}
    for given in traced.program.graph_signature.user_inputs:
        for place, size in enumerate(values[str(given)].shape):
            if not isinstance(size, int) and str(size) not in names:
                lengths = sum(name != "batch" for name in names.values())
                names[str(size)] = "batch" if place == 0 else f"length{f'_{lengths}' if lengths else ''}"
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        for size in value.type.tensor_type.shape.dim:
            if size.dim_param:
                size.dim_param = re.sub(r"\w+", lambda word: names.get(word.group(), word.group()), size.dim_param)


def _nodes(model: Any) -> list[Any]:
    """Nodes of a model, of its functions and of the branches of both."""
    waiting = [*model.graph.node, *(node for function in model.functions for node in function.node)]
    found = []
    while waiting:
        node = waiting.pop()
        found.append(node)
        waiting.extend(inner for attribute in node.attribute for inner in attribute.g.node)
    return found


def parsed(content: bytes) -> Any:
    """A model, of the content of its file."""
    import onnx

    return onnx.load_model_from_string(content)


def finished(model: Any, traced: Traced, manifest_text: str) -> bytes:
    """The content of a file without names of modules, and with metadata of its own."""
    import onnx

    for node in _nodes(model):
        del node.metadata_props[:]
        node.doc_string = ""
    for part in (*model.graph.input, *model.graph.output, *model.graph.value_info, *model.graph.initializer):
        del part.metadata_props[:]
        part.doc_string = ""
    del model.graph.metadata_props[:], model.metadata_props[:]
    model.doc_string = model.graph.doc_string = ""
    decision = traced.deployed.describe()
    about = {"manifest": manifest_text, "class_names": json.dumps(list(decision.class_names)), "task": decision.task}
    for key, value in about.items():
        model.metadata_props.add(key=key, value=value)
    onnx.checker.check_model(model)
    content: bytes = model.SerializeToString()
    return content
