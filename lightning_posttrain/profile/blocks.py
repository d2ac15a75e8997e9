"""A long table of modules as a few blocks, for a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lightning_posttrain.profile.counting import ModuleRow


@dataclass(frozen=True)
class BlockCost:
    """What all rows below one dotted name cost together.

    Args:
        name: that they begin with; "" for what the network holds and does itself.
        kind: the class of a row that is alone, else "".
        parameters: of all.
        flops: likewise, of the whole batch.
    """

    name: str
    kind: str
    parameters: int
    flops: int


def blocks_of(rows: Sequence[ModuleRow], *, most: int = 9) -> list[BlockCost]:
    """Blocks that cost something, in the order of the rows; they add up to what the rows do.

    Beginning with the whole network, the block that costs most is taken apart, as long as there are not too many; of
    a network whose first parts are too many the cheapest are one block.

    Args:
        rows: of an architecture.
        most: blocks.
    """
    costly = [row for row in rows if row.parameters or row.flops]
    groups = _parts("", costly) if costly else []
    if len(groups) > most:
        return _largest([_cost(*group) for group in groups], most)
    while True:
        divided = [(place, parts) for place, group in enumerate(groups) if len(parts := _parts(*group)) > 1]
        fitting = [(place, parts) for place, parts in divided if len(groups) - 1 + len(parts) <= most]
        if not fitting:
            return [_cost(*group) for group in groups]
        place, parts = max(fitting, key=lambda one: (_weight(groups[one[0]][1], costly), -one[0]))
        groups[place : place + 1] = parts


def _largest(blocks: Sequence[BlockCost], most: int) -> list[BlockCost]:
    ranked = sorted(blocks, key=lambda block: (block.flops, block.parameters), reverse=True)
    kept, rest = ranked[: most - 1], ranked[most - 1 :]
    sums = sum(block.parameters for block in rest), sum(block.flops for block in rest)
    return [*(block for block in blocks if block in kept), BlockCost(f"{len(rest)} others", "", *sums)]


def _parts(name: str, rows: Sequence[ModuleRow]) -> list[tuple[str, list[ModuleRow]]]:
    """A block taken apart, by one more part of its rows' names, or by more where all share these."""
    if len(rows) < 2:
        return [(rows[0].name, list(rows))]
    depth = name.count(".") + 1 if name else 0
    while True:
        found: dict[str, list[ModuleRow]] = {}
        for row in rows:
            found.setdefault(".".join(row.name.split(".")[: depth + 1]) if row.name else "", []).append(row)
        deeper = any(row.name.count(".") > depth for row in rows)
        if len(found) > 1 or not deeper:
            return list(found.items())
        depth += 1


def _weight(rows: Sequence[ModuleRow], whole: Sequence[ModuleRow]) -> float:
    """The larger of the shares of parameters and of FLOPs."""
    sums = ((sum(row.parameters for row in part), sum(row.flops for row in part)) for part in (rows, whole))
    (parameters, flops), (all_parameters, all_flops) = sums
    return max(parameters / max(all_parameters, 1), flops / max(all_flops, 1))


def _cost(name: str, rows: Sequence[ModuleRow]) -> BlockCost:
    kind = rows[0].kind if len(rows) == 1 else ""
    return BlockCost(name, kind, sum(row.parameters for row in rows), sum(row.flops for row in rows))
