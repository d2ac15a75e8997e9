"""The first layer of an exported model that gives something else than the tested one."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from lightning_posttrain.export.folder.runtime import onnxruntime
from lightning_posttrain.export.parity.difference import largest_difference
from lightning_posttrain.export.signature import Array

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

APART = 1e-4
"""Difference of a layer's output, as a share of its largest value, from which on it counts."""
_SCOPES = "pkg.torch.onnx.name_scopes"

Layers = Mapping[str, list[Array]]
"""By the name of a module, all tensors that its calls gave."""


def first_apart_in_program(
    module: nn.Module, program: torch.export.ExportedProgram, rows: Mapping[str, Array], *, prefix: str = "",
    tolerance: float = APART,
) -> str | None:  # fmt: skip
    """The first layer whose output in an exported program is not that of the module.

    What a module gives are the values of the graph that are made in it and used outside of it. Values are compared in
    the order in which they are made, those of inner modules before those of outer ones.

    Args:
        module: the tested one, in eval mode on the CPU.
        program: exported from it.
        rows: a few, by input, in the order of the module's arguments.
        prefix: of names that are not the user's, as ``"network."``; it is left out.
        tolerance: difference that counts, as a share of the largest value of a layer's output.

    Returns:
        As ``"`net.4` (Linear), off by 1.2 % of its largest value"``; None where all that can be compared agree.
    """
    graph = program.module()
    assert isinstance(graph, torch.fx.GraphModule)
    eager = _eager(module, rows)
    nodes = {node.name: node for node in graph.graph.nodes}
    scopes = {name: _scopes(node) for name, node in nodes.items()}
    users = {name: [user.name for user in node.users] for name, node in nodes.items()}
    leaving = _leaving(scopes, users)
    walk = _Walk(graph, keep={name for name, _ in leaving})
    with torch.no_grad(), _own_random_numbers():
        walk.run(*_tensors(rows))
    kept = {name: value.detach().numpy() for name, value in walk.kept.items()}
    return _first(leaving, kept, eager, kinds=_kinds(module), prefix=prefix, tolerance=tolerance)


def first_apart_in_onnx(
    module: nn.Module, content: bytes | Path, rows: Mapping[str, Array], *, prefix: str = "", tolerance: float = APART
) -> str | None:
    """The first layer whose output in an ONNX file is not that of the module.

    The exporter writes the names of modules into each node. They are gone after ``strip_names`` and in a quantised
    file, where nothing can be compared. Optimisation is off, so that all values are there; a convolution with its
    normalisation folded in is found at the normalisation.

    Args:
        module: the tested one, in eval mode on the CPU.
        content: of the file, or its path.
        rows: a few, by input.
        prefix: of names that are not the user's; it is left out.
        tolerance: difference that counts, as a share of the largest value of a layer's output.

    Returns:
        As ``first_apart_in_program``.
    """
    import onnx

    model = onnx.load_from_string(content) if isinstance(content, bytes) else onnx.load(content)
    scopes, users = _onnx_graph(model)
    leaving = _leaving(scopes, users)
    if not leaving:
        return None
    values = _onnx_values(model, {name for name, _ in leaving}, rows)
    return _first(leaving, values, _eager(module, rows), kinds=_kinds(module), prefix=prefix, tolerance=tolerance)


class _Walk(torch.fx.Interpreter):
    """Runs a graph and keeps some of its values."""

    def __init__(self, graph: torch.fx.GraphModule, keep: set[str]) -> None:
        super().__init__(graph)
        self.keep = keep
        self.kept: dict[str, Tensor] = {}

    def run_node(self, n: torch.fx.Node) -> Any:
        value = super().run_node(n)
        if n.name in self.keep and isinstance(value, Tensor):
            # a later node may change it in place
            self.kept[n.name] = value.clone()
        return value


def _scopes(node: torch.fx.Node) -> tuple[str, ...]:
    """Names of the modules that a node is part of, the outermost first; a second call has a mark after ``@``."""
    stack: Mapping[str, tuple[str, Any]] = node.meta.get("nn_module_stack") or {}
    return tuple(path.removeprefix("L['self'].") for path, _ in stack.values())


def _leaving(scopes: Mapping[str, tuple[str, ...]], users: Mapping[str, Iterable[str]]) -> list[tuple[str, str]]:
    """Values that leave a module, and that module, in the order in which they are made, from the inside out."""
    return [
        (value, scope)
        for value, inside in scopes.items()
        for scope in reversed(inside)
        if scope and any(scope not in scopes.get(user, ()) for user in users.get(value, ()))
    ]


def _onnx_graph(model: ModelProto) -> tuple[dict[str, tuple[str, ...]], dict[str, list[str]]]:
    """The modules that each value is made in, and the values that are made of it."""
    scopes: dict[str, tuple[str, ...]] = {}
    users: dict[str, list[str]] = {}
    for node in model.graph.node:
        for output in filter(None, node.output):
            scopes[output] = _onnx_scopes(node)
            for value in node.input:
                users.setdefault(value, []).append(output)
    for output in model.graph.output:
        users.setdefault(output.name, []).append("")
    return scopes, users


def _onnx_scopes(node: NodeProto) -> tuple[str, ...]:
    found = {entry.key: entry.value for entry in node.metadata_props}
    named = ast.literal_eval(found.get(_SCOPES, "[]"))
    return tuple(named[:-1])  # the last is the operation's own name


def _onnx_values(model: ModelProto, names: set[str], rows: Mapping[str, Array]) -> dict[str, Array]:
    import onnx

    runtime = onnxruntime()
    known = {value.name for value in [*model.graph.output, *model.graph.initializer]}
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in sorted(names - known))
    options = runtime.SessionOptions()
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    session = runtime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    asked = [output.name for output in session.get_outputs() if output.name in names]
    given = {one.name: rows[one.name] for one in session.get_inputs()}
    return dict(zip(asked, session.run(asked, given), strict=True))


def _eager(module: nn.Module, rows: Mapping[str, Array]) -> Layers:
    """All that each part of a module gives."""
    seen: dict[str, list[Array]] = {}

    def note(name: str) -> Any:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            seen.setdefault(name, []).extend(leaf.detach().numpy().copy() for leaf in _leaves(output))

        return hook

    handles = [part.register_forward_hook(note(name)) for name, part in module.named_modules() if name]
    try:
        with torch.no_grad(), _own_random_numbers():
            module(*_tensors(rows))
    finally:
        for handle in handles:
            handle.remove()
    return seen


def _leaves(output: Any) -> Iterator[Tensor]:
    leaves, _ = torch.utils._pytree.tree_flatten(output)
    return (leaf for leaf in leaves if isinstance(leaf, Tensor))


def _tensors(rows: Mapping[str, Array]) -> list[Tensor]:
    return [torch.from_numpy(np.array(array)) for array in rows.values()]


@contextmanager
def _own_random_numbers() -> Iterator[None]:
    """Whatever a dropout draws is not taken from the user's generator."""
    with torch.random.fork_rng(devices=[]):
        yield


def _kinds(module: nn.Module) -> dict[str, str]:
    return {name: type(part).__name__ for name, part in module.named_modules()}


def _first(
    leaving: list[tuple[str, str]], values: Mapping[str, Array], eager: Layers, *, kinds: Mapping[str, str],
    prefix: str, tolerance: float,
) -> str | None:  # fmt: skip
    for value, scope in leaving:
        name = scope.split("@")[0]
        apart = _relative(values.get(value), eager.get(name, []))
        if apart is not None and not apart <= tolerance:
            return _words(name.removeprefix(prefix), kinds.get(name, ""), apart)
    return None


def _words(name: str, kind: str, apart: float) -> str:
    percent = f"{100 * apart:.2g}" if apart < 0.995 else f"{100 * apart:.0f}"
    by = f"off by {percent} % of its largest value" if np.isfinite(apart) else "not finite"
    return f"`{name}` ({kind}), {by}" if kind else f"`{name}`, {by}"


def _relative(value: Array | None, candidates: list[Array]) -> float | None:
    """Distance to the nearest tensor of the same shape that the module gave, as a share of its largest value."""
    if value is None:
        return None
    alike = [_distance(value, one) for one in candidates if one.shape == value.shape and one.size]
    return min(alike, key=lambda apart: (np.isnan(apart), apart)) if alike else None


def _distance(value: Array, wanted: Array) -> float:
    scale = float(np.abs(wanted[np.isfinite(wanted)]).max(initial=0.0))
    return largest_difference(value, wanted) / (scale or 1.0)
