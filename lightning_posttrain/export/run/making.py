"""Files of every format, of what is shipped, in a folder aside."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from lightning_posttrain.core.output.first_line import first_line
from lightning_posttrain.export.formats import FORMATS
from lightning_posttrain.export.formats.base import CalibrationRows
from lightning_posttrain.export.outputs import Outputs, Runner
from lightning_posttrain.export.parity.tolerance import Precision
from lightning_posttrain.export.program import CannotExportError, Traced, suspicions, traced
from lightning_posttrain.export.run.prepared import Prepared
from lightning_posttrain.export.signature import Array, Signature

PRECISIONS: Mapping[str, Precision] = {"int8": "int8"}
"""Of formats that do not compute in float32."""
EXAMPLES, EXAMPLE_ROWS = 16, 8
"""Batches that a trace is tried on, and rows of each."""


@dataclass(frozen=True, eq=False)
class Made:
    """Files of what is shipped, and what runs them.

    Args:
        folder: where they are.
        signature: what they take and give; None where nothing was traced.
        runners: by format, those that can be run.
        refused: by format, why there is none.
        traced: the trace, where it was made now.
        suspicions: what in its graph does not belong there.
    """

    folder: Path
    signature: Signature | None
    runners: Mapping[str, Runner]
    refused: Mapping[str, str] = field(default_factory=dict)
    traced: Traced | None = None
    suspicions: tuple[str, ...] = ()

    def bytes_of(self, name: str) -> int:
        """Size of the files of a format."""
        files = [self.folder / file for file in FORMATS[name].files]
        return sum(path.stat().st_size for path in files if path.exists())


def made(
    shipped: Prepared,
    examples: Sequence[Mapping[str, Tensor]],
    formats: Sequence[str],
    folder: Path,
    *,
    about: Callable[[Traced], str],
    calibration: CalibrationRows | None,
) -> Made:
    """Write the files of each format.

    Args:
        shipped: what is shipped.
        examples: batches of real rows, by input.
        formats: their names.
        folder: that exists, and is ours.
        about: what goes into the files' metadata.
        calibration: rows that ranges of numbers are measured on, or None.
    """
    try:
        trace = traced(shipped.deployed, _examples(examples))
    except CannotExportError as error:
        return Made(folder, None, {}, dict.fromkeys(formats, str(error)))
    runners: dict[str, Runner] = {}
    refused: dict[str, str] = {}
    text = about(trace)
    for name in formats:
        try:
            FORMATS[name].write(trace, folder, text, calibration)
            runner = FORMATS[name].opened(folder, trace.signature, threads=1)
        except OSError:  # a disk that takes one file does not take the next
            raise
        except Exception as error:  # whatever an exporter raises costs its own format alone
            refused[name] = _refusal(error)
            continue
        if runner is not None:
            runners[name] = runner
    return Made(folder, trace.signature, runners, refused, trace, tuple(suspicions(trace.program)))


def _refusal(error: Exception) -> str:
    if isinstance(error, CannotExportError):
        return str(error)
    said = f"{type(error).__name__}: {first_line(error, most=200)}"
    return f"it cannot be written and opened again: {said}. Use another format."


def _examples(batches: Sequence[Mapping[str, Tensor]]) -> list[dict[str, Tensor]]:
    """A few rows of a few batches, of each shape one at least."""
    few = [{name: tensor[:EXAMPLE_ROWS] for name, tensor in batch.items()} for batch in batches]
    shapes = {tuple(tuple(one.shape[1:]) for one in batch.values()): batch for batch in few}
    return list(shapes.values())[:EXAMPLES]


def eager(module: nn.Module) -> Runner:
    """What runs a module from inputs to probabilities and decisions on arrays."""

    def run(inputs: Mapping[str, Array]) -> Outputs:
        with torch.inference_mode(False), torch.no_grad(), torch.autocast("cpu", enabled=False):
            probabilities, decision = module(*(torch.from_numpy(array) for array in inputs.values()))
        return Outputs(probabilities.numpy(), decision.numpy())

    return run
