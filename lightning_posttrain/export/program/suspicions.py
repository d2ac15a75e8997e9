"""What in an exported graph does not belong in one that is served, found without running it."""

from __future__ import annotations

from typing import Any

import torch
from torch.export import ExportedProgram

from lightning_posttrain.export.program.quiet import quiet
from lightning_posttrain.export.program.refusals import dotted

_OFF = "Call eval() on it before the export, and pass training=self.training to functions."


def suspicions(program: ExportedProgram) -> list[str]:
    """What makes a program answer otherwise than the evaluated module, each with what to change; none in a good one.

    Dropout and batch normalisation in training mode, random numbers, numbers that are taken out of tensors, buffers
    that change at each call.
    """
    nodes = [node for part in program.graph_module.modules() for node in getattr(part, "graph", _NONE).nodes]
    found = [said for node in nodes for said in [_of_node(node)] if said]
    with quiet():
        changed = program.run_decompositions({}).graph_signature.buffers_to_mutate.values()
    of_training = any("batch normalisation" in said for said in found)
    for name in () if of_training else changed:
        found.append(f"buffer `{dotted(name)}` changes at each call. Change it in training alone.")
    return list(dict.fromkeys(found))


_NONE = torch.fx.Graph()


def _of_node(node: torch.fx.Node) -> str | None:
    if node.op != "call_function" or not isinstance(node.target, torch._ops.OpOverload):
        return None
    name, given = node.target._opname, _arguments(node)
    trains = given.get("train", given.get("training", given.get("use_input_stats", False))) is True
    where = _where(node)
    if _drops(name, given, trains):
        return f"dropout is on{where}. {_OFF}"
    if "batch_norm" in name and trains:
        return f"batch normalisation is in training mode{where}. {_OFF}"
    if name in ("item", "_local_scalar_dense"):
        return f"a number is taken out of a tensor by .item(){where}. Keep it a tensor."
    if _is_random(node, name, given, trains):
        return f"random numbers are drawn by {name}{where}. Draw them in training alone."
    return None


def _drops(name: str, given: dict[str, Any], trains: bool) -> bool:
    if "dropout" in name:
        return trains and given.get("p", 1) != 0
    share = given.get("dropout_p", given.get("dropout") if trains else 0)
    return isinstance(share, float) and share > 0


def _is_random(node: Any, name: str, given: dict[str, Any], trains: bool) -> bool:
    seeded = torch.Tag.nondeterministic_seeded in node.target.tags
    switched = {"train", "training", "dropout_p"} & given.keys()
    return seeded and "dropout" not in name and (trains if "rrelu" in name else not switched)


def _arguments(node: torch.fx.Node) -> dict[str, Any]:
    """Arguments of an operation by name, with those that it has by itself."""
    schema: Any = node.target._schema  # type: ignore[union-attr]
    named = {one.name: one.default_value for one in schema.arguments if one.has_default_value()}
    positional = {one.name: value for one, value in zip(schema.arguments, node.args, strict=False)}
    return {**named, **positional, **node.kwargs}


def _where(node: torch.fx.Node) -> str:
    """The module of the user that an operation belongs to."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    name = dotted(stack[-1][0].removeprefix("L['self'].")) if stack else ""
    return f" in `{name}`" if name else " in the network's forward"
