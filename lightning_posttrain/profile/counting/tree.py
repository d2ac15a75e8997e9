"""The table of an architecture as a tree, in which equal neighbours are folded into one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import groupby

from lightning_posttrain.profile.counting.architecture import Architecture, Block, ModuleRow
from lightning_posttrain.profile.counting.parts import Shapes


@dataclass(frozen=True)
class Node:
    """A module in the tree, or what a module of parts does itself.

    Args:
        label: its name below the node above, of several that are equal the first and the last.
        kind: its class, or operations.
        calls: how often it was called.
        outputs: shapes of what its first call returned.
        parameters: of it and all below.
        flops: of it and all below, of the batch.
        below: the nodes below.
        times: how many equal neighbours it stands for; its figures are those of one.
    """

    label: str
    kind: str
    calls: int = 0
    outputs: Shapes = ()
    parameters: int = 0
    flops: int = 0
    below: tuple[Node, ...] = ()
    times: int = 1


@dataclass
class _Branch:
    """A node while it grows."""

    head: Block | ModuleRow
    branches: dict[str, _Branch] = field(default_factory=dict)


def tree_of(architecture: Architecture) -> Node:
    """The root of the tree; what a module does itself is left out where it has no parameters and no FLOPs."""
    heads: dict[str, Block | ModuleRow] = {block.name: block for block in architecture.blocks}
    heads.update((row.name, row) for row in architecture.rows if row.role != "itself")
    root = _Branch(heads.get("", architecture.rows[0]))
    for row in architecture.rows:
        if row.role == "itself" and not row.parameters and not row.flops:
            continue
        place = root
        for name in _path(row.name):
            place = place.branches.setdefault(name, _Branch(heads[name]))
        if row.role == "itself":
            place.branches["(itself)"] = _Branch(row)
    return _grown(root, above="")


def _path(name: str) -> Iterator[str]:
    parts = name.split(".") if name else []
    yield from (".".join(parts[: depth + 1]) for depth in range(len(parts)))


def _grown(branch: _Branch, above: str) -> Node:
    head, itself = branch.head, isinstance(branch.head, ModuleRow) and branch.head.role == "itself"
    # a list of modules is never called: what it holds stands in its place, under both names
    below = tuple(_folded(node for each in branch.branches.values() for node in _standing(each, head.name)))
    row = head if isinstance(head, ModuleRow) else ModuleRow(head.name, head.kind, "layer")
    return Node(
        label="(itself)" if itself else head.name.removeprefix(above).lstrip("."),
        kind=", ".join(row.operations) if itself else row.operation,
        calls=0 if itself else head.calls,
        outputs=() if itself else head.outputs,
        parameters=row.parameters + sum(node.parameters * node.times for node in below),
        flops=row.flops + sum(node.flops * node.times for node in below),
        below=below,
    )


def _standing(branch: _Branch, above: str) -> Iterator[Node]:
    if isinstance(branch.head, Block) and not branch.head.calls:
        for each in branch.branches.values():
            yield from _standing(each, above)
    else:
        yield _grown(branch, above)


def _folded(nodes: Iterable[Node]) -> Iterator[Node]:
    for _, equal in groupby(nodes, key=lambda node: replace(node, label="")):
        first, *others = equal
        if not others:
            yield first
        else:
            label = f"{first.label} … {others[-1].label.rpartition('.')[2]}"
            yield replace(first, label=label, times=1 + len(others))
