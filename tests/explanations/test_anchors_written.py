"""How the conditions of a table's rules are written: as few decimals as tell the same rows apart."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightning_posttrain.explanations.anchors.anchor import anchor
from lightning_posttrain.explanations.anchors.predicates import predicates_of
from lightning_posttrain.explanations.anchors.table import Table, cuts_of
from lightning_posttrain.explanations.perturbation.bins import between, bins_of, unscaled


def raw_rows(count=400, seed=0):
    """Whole numbers, a yes or no, small numbers, large ones, and a share."""
    generator = torch.Generator().manual_seed(seed)
    normal = torch.randn(count, 5, generator=generator, dtype=torch.float64)
    age, yes = (45 + 15 * normal[:, 0]).round(), (normal[:, 1] > 0.4).double()
    return torch.stack([age, yes, 3e-9 + 1e-9 * normal[:, 2], 5e6 * normal[:, 3], 0.3 + 0.1 * normal[:, 4]], 1)


def holds(condition, values):
    """Which values satisfy a condition, as it is written."""
    if condition.equal is not None:
        return values == condition.equal
    low = -math.inf if condition.low is None else condition.low
    return (values > low) & (values <= (math.inf if condition.high is None else condition.high))


@pytest.mark.parametrize("normalized", [False, True])
def test_a_written_condition_holds_for_the_same_rows_and_the_sample_as_the_one_that_was_counted(normalized):
    raw = raw_rows()
    mean, std = raw.float().mean(0), raw.float().std(0)
    rows = ((raw.float() - mean) / std if normalized else raw.float()).double()
    table = Table.of(rows[1:])
    cuts, categorical = cuts_of(table, 8), torch.tensor([0, 1, 0, 0, 0]).bool()
    for which in range(30):
        predicates = predicates_of(rows[which], table, cuts, categorical)
        every = predicates.hold()
        for number in range(len(predicates)):
            alone = torch.arange(len(predicates)) == number
            (condition,) = predicates.conditions(alone, list("abcde"), (mean, std) if normalized else None)
            # data in float32 as a user has them, before the normalization
            values = raw.float().double()[:, condition.part]
            assert torch.equal(holds(condition, values[1:]), every[:, number])
            assert holds(condition, values[which])


def test_cuts_of_whole_numbers_are_whole_and_those_of_small_and_large_ones_short():
    raw = raw_rows(500)
    mean, std = raw.float().mean(0), raw.float().std(0)
    rows = (raw.float() - mean) / std
    table = Table.of(rows.double())
    predicates = predicates_of(rows[0].double(), table, cuts_of(table, 8), torch.tensor([0, 1, 0, 0, 0]).bool())
    for number in range(len(predicates)):
        alone = torch.arange(len(predicates)) == number
        (condition,) = predicates.conditions(alone, list("abcde"), (mean, std))
        value = next(end for end in (condition.equal, condition.low, condition.high) if end is not None)
        assert condition.part > 1 or value.is_integer()
        assert len(f"{value:.12g}".replace("-", "").replace(".", "").split("e")[0].strip("0")) <= 6


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_category_that_was_normalized_comes_back_as_the_whole_number_that_it_was(value):
    raw = raw_rows().float()
    mean, std = raw.mean(0), raw.std(0)
    rows = (raw - mean) / std
    x = rows[raw[:, 1] == value][:1]
    member = lambda z: torch.stack([z[:, 1] > 0, z[:, 1] <= 0], 1).float()  # noqa: E731
    rule = anchor(member, x, rows, categorical=[1], scale=(mean, std), names=["age", "yes", "c", "d", "e"])[0]
    assert str(rule) == f"yes = {value:.0f}"
    assert rule.conditions[0].equal == value
    bins = bins_of(rows, categorical=[1]).conditions(x[0], scale=(mean, std))
    assert bins[1].equal == value


@given(st.integers(-(10**6), 10**6), st.floats(1e-3, 1e5), st.floats(-1e5, 1e5))
def test_whole_numbers_survive_a_normalization_in_float32(number, std, mean):
    values = torch.tensor([number, mean, std], dtype=torch.float32)
    normal = ((values[0] - values[1]) / values[2]).item()
    found = unscaled(normal, 0, (values[1:2], values[2:]))
    assert found == pytest.approx(number, abs=1e-6 * (abs(mean) + abs(number)) + 1e-12)
    if abs(number) + abs(mean) < 1e4:
        assert found == number


def test_without_a_normalization_nothing_is_rounded_but_between_values():
    assert unscaled(1e-9, 0, None) == 1e-9
    assert between(1e-9, 2e-9, 0, None) == 1.5e-9
    assert between(65.0, 66.0, 0, None) == 65
    assert between(0.50112, 0.50231, 0, None) == 0.502
    assert between(0.5, math.inf, 0, None) == 0.5
    assert between(-math.inf, 0.5, 0, None) is None


def test_conditions_at_infinite_values_are_kept():
    rows = torch.tensor([[-math.inf]] * 40 + [[0.5], [0.7]] * 20 + [[math.inf]] * 20).double()
    table = Table.of(rows)
    for x in ([-math.inf], [0.6], [math.inf]):
        predicates = predicates_of(torch.tensor(x).double(), table, cuts_of(table, 3), torch.zeros(1).bool())
        for number in range(len(predicates)):
            (condition,) = predicates.conditions(torch.arange(len(predicates)) == number, ["a"], None)
            assert torch.equal(
                holds(condition, rows[:, 0]) | rows[:, 0].isinf(), predicates.hold()[:, number] | rows[:, 0].isinf()
            )
