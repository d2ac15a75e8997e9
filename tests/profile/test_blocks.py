"""A long table of modules as a few blocks."""

import pytest

from lightning_posttrain.profile.blocks import BlockCost, blocks_of
from lightning_posttrain.profile.counting import ModuleRow


def row(name, parameters=0, flops=0, kind="Linear"):
    return ModuleRow(name, kind, "layer", parameters=parameters, flops=flops)


DEEP = [
    row("stem", 10, 100),
    *(row(f"body.{stage}.{block}.{part}", 1 + stage, 10) for stage in range(3) for block in range(2) for part in "ab"),
    row("body.pool"),
    row("head", 1000, 20),
]


@pytest.mark.parametrize("most", [1, 2, 3, 5, 9, 30])
@pytest.mark.parametrize(
    "rows", [DEEP, DEEP[:1], [row("net.0", 5)] * 1, [row(f"net.{n}", n + 1, n) for n in range(14)]]
)
def test_blocks_add_up_to_the_rows_and_are_not_too_many(rows, most):
    found = blocks_of(rows, most=most)
    assert sum(block.parameters for block in found) == sum(one.parameters for one in rows)
    assert sum(block.flops for block in found) == sum(one.flops for one in rows)
    assert len(found) <= max(most, 1)


def test_the_block_that_costs_most_is_taken_apart():
    assert [block.name for block in blocks_of(DEEP, most=3)] == ["stem", "body", "head"]
    assert [block.name for block in blocks_of(DEEP, most=5)] == ["stem", "body.0", "body.1", "body.2", "head"]


def test_of_many_layers_side_by_side_the_cheapest_are_one_block():
    rows = [row(f"net.{n}", 1, flops) for n, flops in enumerate([5, 90, 3, 80, 1])]
    assert blocks_of(rows, most=3) == [
        BlockCost("net.1", "Linear", 1, 90), BlockCost("net.3", "Linear", 1, 80), BlockCost("3 others", "", 3, 9),
    ]  # fmt: skip


def test_what_costs_nothing_is_no_block():
    assert blocks_of([row("net.pool")]) == []
    assert [block.name for block in blocks_of([row("net.pool"), row("net.fc", 3)])] == ["net.fc"]
