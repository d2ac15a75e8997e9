"""Anchors of tables: rows drawn for the search, and equal rows."""

import math
import time

import pytest
import torch

from lightning_posttrain.attribution.chunks import Chunks
from lightning_posttrain.explanations.anchors.anchor import anchor
from lightning_posttrain.explanations.anchors.bounds import Bar
from lightning_posttrain.explanations.anchors.observed import Drawn, beam_search, observed_rule
from lightning_posttrain.explanations.anchors.predicates import predicates_of
from lightning_posttrain.explanations.anchors.predicted_classes import Asked
from lightning_posttrain.explanations.anchors.row_search import RowSearch
from lightning_posttrain.explanations.anchors.table import cuts_of

pytestmark = pytest.mark.usefixtures("one_thread")


def town_and_dose(rows):
    """Class 0 for a town other than 2, no member, and a small dose; the other columns are noise."""
    first = (rows[:, 0] != 2) & (rows[:, 1] == 0) & (rows[:, 2] <= 0.8)
    return torch.stack([first, ~first], 1).float()


def customers(count, seed):
    generator = torch.Generator().manual_seed(seed)
    town = torch.randint(0, 5, (count,), generator=generator)
    member = (torch.rand(count, generator=generator) < 0.3).long()
    noise = torch.rand(count, 11, generator=generator)
    return torch.cat([torch.stack([town, member], 1), noise], 1)


def test_with_rows_drawn_for_the_search_more_rules_are_valid_and_fewer_name_a_column_of_noise():
    valid, noise = [], []
    for samples in (0, 2048):
        rules = []
        for seed in range(3):
            rows = customers(500, seed)
            x = rows[town_and_dose(rows).argmax(1) == 0][:10]
            rules += anchor(town_and_dose, x, rows, categorical=[0, 1], samples=samples, seed=seed)
        valid.append(sum(rule.valid for rule in rules))
        noise.append(sum(condition.part > 2 for rule in rules for condition in rule.conditions))
    assert valid[1] >= 25 > valid[0]
    assert noise[1] <= 3 < noise[0] // 2


@pytest.mark.slow
def test_rows_drawn_for_the_search_do_not_make_bad_rules_valid():
    said, times = 0, 300
    generator = torch.Generator().manual_seed(0)
    alone = torch.zeros(12, 12, dtype=torch.bool)
    for _ in range(times):
        hold = torch.rand(300, 12, generator=generator) < 0.6
        agree = torch.rand(300, generator=generator) < 0.9
        # the drawn rows lie: the first two predicates seem to be all that is needed
        lies = torch.rand(400, 12, generator=generator) < 0.6
        drawn, parts = Drawn(lies, lies[:, :2].all(1)), (torch.arange(75), torch.arange(75, 300))
        _, judged = observed_rule(hold, agree, alone, parts, bar=Bar(0.9, 0.0), beam=10, max_size=4, drawn=drawn)
        said += judged.valid
    # 5 % of 300 and three standard deviations
    assert said <= 26


def test_valid_rules_and_lower_bounds_hold_for_new_rows_where_labels_are_half_chance():
    above = wrong = valid = 0
    for seed in range(40):
        generator = torch.Generator().manual_seed(seed)
        rows, chance = torch.rand(300, 4, generator=generator), torch.rand(300, generator=generator)
        # the truth given the columns: 0.97 where the first is large, else 0.5
        predicted = (chance < torch.where(rows[:, 0] > 0.4, 0.97, 0.5)).long()
        model = lambda x: torch.stack([x[:, 0] * 0, x[:, 0] * 0 + 1], 1)  # noqa: E731
        rule = anchor(model, torch.full((1, 4), 0.9), rows, predicted=predicted, samples=512, seed=seed)[0]
        low = max([c.low or 0.0 for c in rule.conditions if c.part == 0], default=0.0)
        truth = 0.97 if low > 0.4 else (0.97 * 0.6 + 0.5 * (0.4 - low)) / (1 - low)
        above += rule.lower > truth
        wrong += rule.valid and truth < 0.9
        valid += rule.valid
    assert valid >= 10
    assert wrong <= 2
    assert above <= 5


def test_a_slow_model_leaves_time_for_the_rules():
    def slow(rows):
        time.sleep(0.001 * len(rows))
        return town_and_dose(rows)

    rows = customers(500, 0)
    known = town_and_dose(rows).argmax(1)
    rule = anchor(slow, rows[:1], rows, predicted=known, categorical=[0, 1], chunk=Chunks(512, seconds=1.0))[0]
    assert 1 < rule.forwards - rule.intervened_rows < 1000
    assert rule.valid == anchor(town_and_dose, rows[:1], rows, predicted=known, categorical=[0, 1])[0].valid
    assert rule.conditions


def searching(rows, asked, *, drawn, seed=0, categorical=()):
    """A search, and the rows that its model was asked for."""

    def model(values):
        asked.append(values)
        return torch.stack([values[:, 0] <= 0.5, values[:, 0] > 0.5], 1).float()

    generator, chunks = torch.Generator().manual_seed(seed), Chunks(64)
    predicted = (rows[:, 0] > 0.5).long()
    ask, categories = Asked(model, rows, chunks), torch.tensor(categorical or [0] * rows.shape[1]).bool()
    return RowSearch(
        ask, rows.double(), predicted, bar=Bar(), generator=generator, shared=0, categorical=categories, drawn=drawn
    )


def test_each_drawn_row_is_one_of_the_search_with_about_half_of_its_columns_from_others_of_the_search():
    asked, rows = [], torch.rand(400, 8, generator=torch.Generator().manual_seed(0))
    search = searching(rows, asked, drawn=500)
    made, seen = torch.cat(asked), rows[search._parts[0]]
    assert (len(seen), len(made)) == (100, 500)
    same = made[:, None] == seen  # (500, 100, 8): values are all different, so each has one source
    assert same.any(1).all()
    assert float(same.sum(2).amax(1).double().mean() / 8) == pytest.approx(0.5, abs=0.1)


def test_what_holds_for_drawn_rows_is_what_their_values_say():
    asked, rows = [], torch.rand(300, 5, generator=torch.Generator().manual_seed(0))
    rows[::3, 4] = (rows[::3, 4] * 3).floor()
    rows[::7, 3] = math.nan
    search = searching(rows, asked, drawn=200)
    x, categorical = rows[3].double(), torch.tensor([0, 0, 0, 0, 1]).bool()
    predicates = predicates_of(x, search.table, cuts_of(search.table, 5), categorical)
    found, made = search._drawn_of(predicates, predicates.hold(), 1), torch.cat(asked).double()
    assert found.agree.tolist() == (made[:, 0] > 0.5).tolist()
    for number, (column, value) in enumerate(zip(predicates.column.tolist(), predicates.value, strict=True)):
        values, own = made[:, column], x[column]
        wanted = values == own if categorical[column] else (values > value) if own > value else (values <= value)
        assert found.hold[:, number].tolist() == wanted.tolist()


@pytest.mark.parametrize(("seen", "drawn", "weight"), [(100, 400, 1.0), (100, 401, 0.5), (50, 2048, 0.0625), (0, 9, 0)])
def test_drawn_rows_weigh_a_power_of_two_and_together_no_more_than_four_times_the_others(seen, drawn, weight):
    assert Drawn(torch.zeros(drawn, 1).bool(), torch.zeros(drawn).bool()).weight(seen) == weight


def test_rows_of_half_the_weight_count_as_much_as_half_as_many_of_the_whole():
    generator = torch.Generator().manual_seed(0)
    hold, agree = torch.rand(80, 5, generator=generator) < 0.6, torch.rand(80, generator=generator) < 0.8
    options = {"level": 3.0, "ratio": 2.0, "beam": 10, "max_size": 4}
    alone, weight = torch.zeros(5, 5, dtype=torch.bool), torch.full((160,), 0.5)
    once = beam_search(hold, agree, alone, **options)
    twice = beam_search(hold.repeat(2, 1), agree.repeat(2), alone, **options, weight=weight)
    assert torch.equal(once.rules, twice.rules)
    assert torch.equal(once.rows, twice.rows)
    assert torch.equal(once.safety, twice.safety)


def test_of_a_table_of_few_categories_each_row_counts_though_equal_ones_came_before():
    generator = torch.Generator().manual_seed(0)
    rows = torch.randint(0, 3, (600, 3), generator=generator).float()  # 27 different rows: too few to confirm anything
    first, second = anchor(
        lambda x: torch.stack([x[:, 0] == 1, x[:, 0] != 1], 1).float(), rows[:2], rows, categorical=[0, 1, 2]
    )
    for rule in (first, second):
        if rule.predicted == 0:
            assert (str(rule), rule.valid) == ("column 0 = 1", True)
        assert rule.rows > 27
    assert {first.valid, second.valid} == {True} or rows[:2, 0].eq(1).any()
