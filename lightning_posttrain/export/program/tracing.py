"""An exported program of what is shipped, with free batches and nothing of the machine or the data in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram, export

from lightning_posttrain.core.capture.module_state import kept_state
from lightning_posttrain.export.program.deployed import Deployed
from lightning_posttrain.export.program.quiet import quiet
from lightning_posttrain.export.program.refusals import LENGTH, ONE_LENGTH, SEPARATE, CannotExportError, refusal
from lightning_posttrain.export.program.standing_copy import leave_out_hooks, standing_copy
from lightning_posttrain.export.signature import DECISION, MOST_ROWS, PROBABILITIES, Signature, TensorSpec

Batch = Mapping[str, Tensor]


@dataclass(frozen=True, eq=False)
class Traced:
    """What is shipped, as it runs and as it was traced.

    Args:
        program: the trace, without examples.
        deployed: the module that was traced, a copy in evaluation mode and float32 on the CPU.
        signature: what it takes and gives.
        examples: batches of real rows, with memory of their own.
    """

    program: ExportedProgram
    deployed: Deployed
    signature: Signature
    examples: tuple[Batch, ...]


def traced(deployed: Deployed, examples: Sequence[Batch], *, names: Sequence[str] | None = None) -> Traced:
    """Export a copy of a module with a free number of rows, and free lengths where those of the examples differ.

    Args:
        deployed: what is shipped; it stays as it was.
        examples: batches of real rows, by input.
        names: of the inputs in the order in which it takes them; those of the first example where it is None.

    Raises:
        CannotExportError: it says why, and what to change.
        ValueError: there are no examples, or they lack an input or differ in their number of dimensions.
    """
    order = tuple(examples[0] if names is None and examples else names or ())
    rows = tuple(_own(batch, order) for batch in examples)
    _check(rows, order)
    shipped: Deployed = standing_copy(deployed)
    with quiet(), torch.inference_mode(False), torch.no_grad(), torch.autocast("cpu", enabled=False):
        _try_out(shipped, rows)
        with kept_state(shipped):  # a forward that keeps a tensor on itself would keep one of the trace
            program = _program(shipped, rows)
    return Traced(program, shipped, _signature(program, order, rows), rows)


def _own(batch: Batch, names: Sequence[str]) -> dict[str, Tensor]:
    """A batch in float32 on the CPU, with memory of its own."""
    missing = [name for name in names if name not in batch]
    if missing:
        raise ValueError(f"`examples` has a batch without {missing[0]!r}, wanted {list(names)} in each.")
    own = {name: batch[name].detach().to("cpu", copy=True).contiguous() for name in names}
    return {name: one.float() if one.is_floating_point() else one for name, one in own.items()}


def _check(rows: Sequence[Batch], names: Sequence[str]) -> None:
    if not rows or not names:
        raise ValueError("`examples` has no rows, wanted at least one batch of them.")
    for batch in rows:
        if len({len(one) for one in batch.values()}) != 1 or not len(batch[names[0]]):
            raise ValueError(
                f"`examples` has {[tuple(one.shape) for one in batch.values()]}, wanted as many rows each."
            )
    for name in names:
        if len({batch[name].ndim for batch in rows}) > 1:
            raise ValueError(f"`examples` has {name!r} with different numbers of dimensions.")


def _try_out(shipped: Deployed, rows: Sequence[Batch]) -> None:
    """Run the module as it is, and take off the hooks that only look."""

    def run(batch: Batch) -> tuple[Tensor, ...]:
        with kept_state(shipped):
            return tuple(shipped(*batch.values()))

    try:
        leave_out_hooks(shipped, lambda: run(rows[0]))
        for batch in rows:
            given, count = len(run(batch)[0]), len(next(iter(batch.values())))
            if given != count:
                raise CannotExportError(f"the network gives {given} rows for {count}", SEPARATE)
    except Exception as error:
        raise refusal(error, "the network does not run on a CPU in float32") from error


def _program(shipped: Deployed, rows: Sequence[Batch]) -> ExportedProgram:
    free = _free(rows)
    largest = max(rows, key=lambda batch: sum(one[0].numel() for one in batch.values()))
    try:
        program = export(shipped, tuple(map(_two, largest.values())), dynamic_shapes=(free,))
    except Exception as error:
        raise _refusal(error, shipped) from error
    if any(len(sizes) > 1 for sizes in free):
        _try_lengths(program, rows)
    program.example_inputs = None  # else their whole storage goes into the file
    for part in program.graph_module.modules():
        for node in part.graph.nodes if isinstance(part, torch.fx.GraphModule) else ():
            node.meta.pop("stack_trace", None)
    return program


def _try_lengths(program: ExportedProgram, rows: Sequence[Batch]) -> None:
    """Run the trace on each batch: of a condition on a length it has the side that it saw."""
    module = program.module()
    try:
        for batch in rows:
            module(*batch.values())
    except Exception as error:
        raise CannotExportError(LENGTH, ONE_LENGTH) from error


def _refusal(error: Exception, shipped: Deployed) -> CannotExportError:
    said = refusal(error)
    if said.reason.startswith(LENGTH) and any(isinstance(part, nn.RNNBase) for part in shipped.modules()):
        reason = "torch exports recurrent layers for one length of sequence, and the batches have several"
        return CannotExportError(reason, "Pad all rows to one length where they are loaded.")
    return said


def _two(tensor: Tensor) -> Tensor:
    """Two rows: one would be taken for a constant."""
    return tensor[:2].clone() if len(tensor) > 1 else tensor.repeat(2, *(1,) * (tensor.ndim - 1))


def _free(rows: Sequence[Batch]) -> tuple[dict[int, Any], ...]:
    """By input, the dimensions that may have any size."""
    batch = Dim("batch", min=1, max=MOST_ROWS)
    shapes = [[tuple(one.shape) for one in each.values()] for each in rows]
    found = []
    for of_input in zip(*shapes, strict=True):
        differ = [d for d, sizes in enumerate(zip(*of_input, strict=True)) if d and len(set(sizes)) > 1]
        found.append({0: batch, **dict.fromkeys(differ, Dim.DYNAMIC)})
    return tuple(found)


def _signature(program: ExportedProgram, names: Sequence[str], rows: Sequence[Batch]) -> Signature:
    values = {node.name: node.meta.get("val") for node in program.graph.nodes}
    given, out = program.graph_signature.user_inputs, program.graph_signature.user_outputs
    kinds = [np.dtype(str(one.dtype).removeprefix("torch.")).name for one in rows[0].values()]
    inputs = [TensorSpec(n, k, _shape(values[str(g)])) for n, k, g in zip(names, kinds, given, strict=True)]
    outputs = [TensorSpec(PROBABILITIES, "float32", _shape(values[str(out[0])]))]
    outputs.append(TensorSpec(DECISION, "int64", _shape(values[str(out[1])])))
    return Signature(tuple(inputs), tuple(outputs))


def _shape(value: Any) -> tuple[int | None, ...]:
    return tuple(size if isinstance(size, int) else None for size in value.shape)
