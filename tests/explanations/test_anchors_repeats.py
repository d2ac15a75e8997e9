"""Anchors of tables in which rows repeat, columns have few values, or the sample is unlike all rows."""

import math
from collections import Counter
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch.utils.data import DataLoader, TensorDataset

from lightning_posttrain import Explanations
from lightning_posttrain.explanations.anchors.anchor import anchor
from lightning_posttrain.explanations.anchors.bounds import Bar
from lightning_posttrain.explanations.anchors.confirmation import Evidence, confirmed, evidence_of
from lightning_posttrain.explanations.anchors.repeats import Repeats, discrete_columns, row_keys
from lightning_posttrain.explanations.anchors.table import Table, cuts_of
from tests import toys
from tests.explanations.test_callback import Fixed

pytestmark = pytest.mark.usefixtures("one_thread")


def generator_of(seed=0):
    return torch.Generator().manual_seed(seed)


def two_classes(second):
    return torch.stack([~second, second], 1).float()


def both_large(rows):
    return two_classes((rows[:, :2] > 0.5).all(1))


def uniform(rows, columns, seed=0):
    return torch.rand(rows, columns, generator=generator_of(seed))


def satisfies(row, rule):
    """Whether a row, as a list, has all that the rule's text says."""
    for condition in rule.conditions:
        value = row[condition.part]
        if condition.equal is not None and value != condition.equal:
            return False
        if condition.low is not None and not value > condition.low:
            return False
        if condition.high is not None and not value <= condition.high:
            return False
    return True


def check_counts(rule, rows, classes):
    """Each figure of a rule from the rows of a table as lists, counted one by one."""
    rows, classes = rows.double().tolist(), classes.tolist()
    held = [given for row, given in zip(rows, classes, strict=True) if satisfies(row, rule)]
    hits = held.count(rule.predicted)
    assert rule.rows == len(held)
    assert rule.precision == hits / len(held)
    assert rule.coverage == len(held) / len(rows)
    assert rule.base == classes.count(rule.predicted) / len(rows)
    assert rule.different == len({tuple(row) for row in rows if satisfies(row, rule)})
    assert rule.precision * rule.coverage <= rule.base + 1e-12
    assert rule.lower <= rule.precision
    assert 0 <= rule.draws <= rule.rows
    assert rule.valid <= (rule.precision >= 0.95 and rule.lower > 0.9)


def clinic():
    """Age in years and a site; 30 % of the rows are one and the same."""
    generator = generator_of()
    age = torch.randint(0, 300, (6000,), generator=generator).float()
    site = torch.randint(0, 2, (6000,), generator=generator).float()
    heavy = torch.rand(6000, generator=generator) < 0.3
    age[heavy], site[heavy] = 180.0, 1.0
    return torch.stack([age, site], 1)


def old_but_for_one_kind(rows):
    return two_classes((rows[:, 0] > 100) & ~((rows[:, 0] == 180) & (rows[:, 1] == 1)))


@pytest.mark.parametrize("categorical", [[], [1]])
def test_rows_that_are_one_and_the_same_count_in_the_precision_and_do_not_make_it_sure(categorical):
    rows, options = clinic(), {"names": ["age", "site"], "categorical": categorical}
    classes = old_but_for_one_kind(rows).argmax(1)
    x = torch.tensor([[200.0, 0.0], [180.0, 1.0]])
    for size in (1, 6):
        rules = anchor(old_but_for_one_kind, x, rows, max_size=size, **options)
        for rule in rules:
            check_counts(rule, rows, classes)
        assert (rules[0].valid, rules[0].precision) == (True, 1.0)
        assert not rules[1].valid  # most of what it says the class of is the sample itself
    assert str(rules[0]) == "age > 180"
    # 119 ages at two sites, of which about three in four confirm
    assert 100 < rules[0].draws < 200


def test_a_rule_that_holds_for_a_row_of_great_weight_has_the_precision_of_all_rows():
    rows = clinic()
    agree, old = old_but_for_one_kind(rows).argmax(1) == 1, (rows[:, 0] > 105)[:, None]
    repeats = Repeats.of(rows, Table.of(rows.double()), torch.zeros(2).bool())
    assert repeats.copied
    _, new = repeats.split(0.25, generator_of())
    (evidence,) = evidence_of(torch.ones(1, 1).bool(), old, agree, new, repeats.draw)
    judged = evidence.judged(Bar())
    assert judged.precision == pytest.approx(0.6007, abs=1e-4)
    assert judged.lower < judged.precision
    assert not judged.valid


def test_columns_of_two_values_need_not_be_named_for_their_exclusive_or():
    rows = torch.randint(0, 2, (400, 2), generator=generator_of()).float()
    model = lambda z: two_classes((z[:, 0] > 0) != (z[:, 1] > 0))  # noqa: E731
    classes = model(rows).argmax(1)
    for x, words in (([0.0, 1.0], "column 0 ≤ 0 AND column 1 > 0"), ([1.0, 1.0], "column 0 > 0 AND column 1 > 0")):
        rule = anchor(model, torch.tensor([x]), rows)[0]
        check_counts(rule, rows, classes)
        assert (str(rule), rule.precision, rule.valid, rule.different) == (words, 1.0, True, 1)
        named = anchor(model, torch.tensor([x]), rows, categorical=[0, 1])[0]
        assert str(named) == f"column 0 = {x[0]:.0f} AND column 1 = {x[1]:.0f}"
        assert (named.precision, named.coverage, named.valid) == (1.0, rule.coverage, True)
    assert anchor(model, torch.tensor([[0.0, 1.0]]), rows)[0].coverage == 0.235


@pytest.mark.parametrize(("levels", "count", "discrete"), [(100, 4000, False), (40, 3000, True)])
def test_figures_of_a_column_of_some_levels_are_those_of_all_rows(levels, count, discrete):
    generator, kind = generator_of(), 3 * levels // 4
    rows = torch.stack([torch.randint(0, most, (count,), generator=generator) for most in (levels, 2)], 1).float()
    rows[torch.rand(count, generator=generator) < 0.4] = torch.tensor([kind, 1.0])
    model = lambda z: two_classes((z[:, 0] > 0.3 * levels) & ~((z[:, 0] == kind) & (z[:, 1] == 1)))  # noqa: E731
    assert discrete_columns(Table.of(rows))[0] == discrete
    for size in (1, 6):
        rule = anchor(model, torch.tensor([[levels / 2, 0.0]]), rows, max_size=size)[0]
        check_counts(rule, rows, model(rows).argmax(1))
    assert rule.valid
    assert rule.precision == 1


@st.composite
def tables(draw):
    """A few different rows, how often each comes, the class of each, a sample, and which columns are categories."""
    columns = draw(st.integers(1, 3))
    value = st.sampled_from([0.0, 1.0, 2.0, 0.25, 7.5, -3.0])
    kinds = draw(st.lists(st.tuples(*[value] * columns), min_size=1, max_size=12, unique=True))
    times = draw(st.lists(st.integers(1, 40), min_size=len(kinds), max_size=len(kinds)))
    given = draw(st.lists(st.integers(0, 1), min_size=len(kinds), max_size=len(kinds)))
    x = draw(st.sampled_from(kinds) | st.tuples(*[value] * columns))
    return kinds, times, given, x, draw(st.sets(st.integers(0, columns - 1)))


@settings(max_examples=60, deadline=None)
@given(tables(), st.integers(0, 99))
def test_figures_of_any_table_are_those_that_are_counted_row_by_row(table, seed):
    kinds, times, given_class, x, categorical = table
    known = dict(zip(kinds, given_class, strict=True))

    def model(rows):
        return two_classes(torch.tensor([bool(known.get(tuple(row), sum(row) > 1)) for row in rows.tolist()]))

    often = torch.tensor(times)
    rows = torch.tensor(kinds).repeat_interleave(often, 0)[torch.randperm(sum(times), generator=generator_of(seed))]
    classes, sample = model(rows).argmax(1), torch.tensor([x])
    (rule,) = anchor(model, sample, rows, categorical=sorted(categorical), samples=64, bins=3, seed=seed)
    if rule.unseen:
        assert not any(
            satisfies(row, replace(rule, conditions=(one,))) for row in rows.tolist() for one in rule.conditions
        )
        assert math.isnan(rule.precision)
        assert (rule.coverage, rule.lower, rule.valid) == (0.0, 0.0, False)
    else:
        check_counts(rule, rows, classes)
    assert satisfies(list(x), rule)


def slow_lower(draws, confidence=0.95):
    """From how often each draw comes, and whether it gets the class."""
    total, squares = sum(times for times, _ in draws), sum(times**2 for times, _ in draws)
    effective = total**2 / squares
    hits = effective * sum(times for times, right in draws if right) / total
    return effective, float(stats.beta.ppf(1 - confidence, hits, effective - hits + 1)) if hits else 0.0


def test_the_bound_is_that_of_clopper_and_pearson_with_the_effective_number_of_kish():
    for draws in (
        [(1, True)] * 40,
        [(7, True)] * 40,
        [(1, True)] * 38 + [(5, False)] * 2,
        [(900, True)] + [(1, False)] * 30,
        [(3, False)],
    ):
        number = torch.arange(len(draws)).repeat_interleave(torch.tensor([times for times, _ in draws]))
        agree = torch.tensor([right for _, right in draws])[number]
        every = torch.ones(len(number), 1).bool()
        (found,) = evidence_of(torch.ones(1, 1).bool(), every, agree, torch.arange(len(number)), number)
        effective, lower = slow_lower(draws)
        assert found.draws == pytest.approx(effective)
        assert found.judged(Bar()).lower == pytest.approx(lower, abs=1e-9)


def test_what_the_search_has_seen_makes_a_bound_worse_and_never_better():
    new = {"new": 100, "right": 100, "squares": 100}
    alone = Evidence(rows=100, hits=100, **new).judged(Bar())
    good, bad = (Evidence(rows=200, hits=hits, **new).judged(Bar()) for hits in (200, 100))
    assert good.lower == alone.lower == pytest.approx(0.05**0.01)
    assert bad.precision == 0.5
    assert bad.lower == pytest.approx(0.5 - (1 - alone.lower) / 2)
    assert (alone.valid, good.valid, bad.valid) == (True, True, False)
    assert Evidence(rows=10, hits=10, new=0, right=0, squares=0).judged(Bar()).lower == 0


@pytest.mark.parametrize("truth", [0.6, 0.9, 0.95])
@pytest.mark.parametrize("heaviest", [1, 5, 60])
def test_bounds_of_repeated_draws_are_seldom_above_the_truth(truth, heaviest):
    generator, above = generator_of(), 0
    times = torch.ones(80, dtype=torch.int64)
    times[::8] = heaviest
    number = torch.arange(80).repeat_interleave(times)
    every = torch.ones(len(number), 1).bool()
    for _ in range(400):
        agree = (torch.rand(80, generator=generator) < truth)[number]
        (found,) = evidence_of(torch.ones(1, 1).bool(), every, agree, torch.arange(len(number)), number)
        above += found.judged(Bar()).lower > truth
    # 5 % of 400 and three standard deviations; with each row as a draw of its own the heaviest miss in a third
    assert above <= 33


def test_rules_are_confirmed_in_order_up_to_the_first_that_fails():
    def with_hits(hits):
        return Evidence(rows=100, hits=hits, new=100, right=hits, squares=100)

    place, judged = confirmed([with_hits(100), with_hits(99), with_hits(90), with_hits(100)], Bar())
    assert (place, judged.valid, judged.precision) == (1, True, 0.99)
    place, judged = confirmed([with_hits(90), with_hits(94), with_hits(100)], Bar())
    assert (place, judged.valid) == (1, False)


def always_second(rows):
    return two_classes(rows[:, 0] == rows[:, 0])


def test_copies_of_rows_confirm_nothing():
    said = 0
    for seed in range(5):
        rows = uniform(60, 5, seed).repeat(10, 1)
        labels = (uniform(60, 1, 100 + seed)[:, 0] < 0.5).long().repeat(10)
        said += sum(rule.valid for rule in anchor(always_second, rows[:10], rows, predicted=labels, seed=seed))
    assert said == 0


def test_a_table_and_the_same_with_each_row_many_times_give_the_same_rules():
    rows = uniform(400, 3)
    rows[:40, 2] = math.nan
    once, often = (
        anchor(both_large, rows[:6], table, predicted=both_large(table).argmax(1))
        for table in (rows, rows.repeat(7, 1))
    )
    for one, other in zip(once, often, strict=True):
        assert replace(one, intervened=None, rows=7 * one.rows) == replace(other, intervened=None)
    assert any(rule.valid for rule in once)


def test_keys_of_rows_are_equal_where_the_rows_are():
    generator = torch.Generator().manual_seed(0)
    bits = torch.randint(0, 2, (3000, 14), generator=generator).double()
    numbers = torch.randint(-3, 4, (3000, 4), generator=generator) * torch.tensor([1.0, 0.5, 1024.0, 1e-3]).double()
    for rows in (bits, numbers, torch.cat([bits[:, :9], -0.0 * bits[:, :1]], 1)):
        kinds, kind = torch.unique(rows, dim=0, return_inverse=True)
        keys, number = torch.unique(row_keys(rows), return_inverse=True)
        assert len(keys) == len(kinds)
        assert len(torch.unique(number * len(kinds) + kind)) == len(kinds)
    gaps = torch.tensor([[math.nan, 1.0], [math.nan, 1.0], [1.0, math.nan], [math.inf, 1.0]]).double()
    first, second, swapped, infinite = row_keys(gaps).tolist()
    assert first == second
    assert len({first, swapped, infinite}) == 3


@pytest.mark.parametrize(
    ("values", "rows", "discrete"), [(2, 4, True), (2, 3, False), (20, 400, True), (21, 400, False)]
)
def test_a_column_is_discrete_where_its_values_come_as_often_as_there_are_values(values, rows, discrete):
    column = (torch.arange(rows) % values).double()
    assert discrete_columns(Table.of(column[:, None])).tolist() == [discrete]
    column[column == 0] = math.nan  # which is one value
    assert discrete_columns(Table.of(column[:, None])).tolist() == [discrete]


def test_equal_rows_are_draws_of_their_own_where_all_columns_are_discrete_or_said_to_be():
    rows = torch.stack([torch.arange(60.0), torch.arange(60.0) % 2], 1).repeat(2, 1)
    table = Table.of(rows)
    for categorical, copied in (([False, False], True), ([False, True], True), ([True, False], False)):
        found = Repeats.of(rows, table, torch.tensor(categorical))
        assert found.copied is copied
        assert found.draw.tolist() == (list(range(60)) * 2 if copied else list(range(120)))
    same = torch.ones(50, 2)
    assert Repeats.of(same, Table.of(same), torch.tensor([True, True])).copied


def test_all_copies_of_a_draw_are_in_one_part_and_the_heaviest_in_the_first():
    rows = torch.cat([uniform(100, 2), torch.full((400, 2), 0.5), uniform(100, 2)[:30]])
    repeats = Repeats.of(rows, Table.of(rows), torch.zeros(2).bool())
    firsts = Counter()
    for seed in range(200):
        first, second = repeats.split(0.25, generator_of(seed))
        kinds = [{tuple(row) for row in rows[part].tolist()} for part in (first, second)]
        assert not kinds[0] & kinds[1]
        assert [len(kind) for kind in kinds] == [25, 76]
        assert sorted(torch.cat([first, second]).tolist()) == list(range(530))
        firsts.update(kinds[0])
    assert firsts[0.5, 0.5] == 200
    twice, once = (sum(firsts[tuple(row)] for row in part.tolist()) / len(part) for part in (rows[:30], rows[30:100]))
    assert twice > 1.4 * once


def test_a_row_confirms_nothing_of_itself_nor_do_its_copies():
    rows = torch.cat([uniform(100, 2), uniform(100, 2)[:5].repeat(6, 1)]).double()
    repeats = Repeats.of(rows, Table.of(rows), torch.zeros(2).bool())
    left = torch.cat(repeats.without(rows[3], repeats.split(0.25, generator_of())))
    assert len(left) == 130 - 7
    assert not (rows[left] == rows[3]).all(1).any()
    few = torch.tensor([[0.0, 1.0]] * 20 + [[1.0, 1.0]] * 20).double()
    repeats = Repeats.of(few, Table.of(few), torch.zeros(2).bool())
    parts = repeats.split(0.25, generator_of())
    first, second = repeats.without(few[0], parts)
    assert (len(first), len(second)) == (10, 29)
    assert [len(part) for part in repeats.without(torch.tensor([5.0, 5.0]).double(), parts)] == [10, 30]


def test_a_column_of_few_values_is_cut_between_any_two_of_them():
    rare = torch.tensor([0.0] * 90 + [1.0] * 6 + [3.0] * 4 + [math.nan] * 5)
    rows = torch.stack([rare, torch.arange(105.0), torch.ones(105)], 1)
    cuts = cuts_of(Table.of(rows), 4)
    assert cuts.values[cuts.divides[:, 0], 0].tolist() == [0.0, 1.0]
    assert cuts.below[cuts.divides[:, 0], 0].tolist() == [90, 96]
    assert cuts.divides.sum(0).tolist() == [2, 3, 0]
    rows = (rows[:100] % 5).repeat(20, 1)
    rule = anchor(lambda z: two_classes(z[:, 0] > 2), torch.tensor([[3.0, 2.0, 1.0]]), rows)[0]
    assert str(rule) == "column 0 > 1"


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("sample", [1.0, 2.0])
def test_of_rows_that_are_all_equal_the_precision_is_theirs_and_nothing_is_certain(exact, sample):
    rows = torch.ones(50, 3)
    rule = anchor(always_second, torch.full((1, 3), sample), rows, exact=exact)[0]
    check_counts(rule, rows, torch.ones(50, dtype=torch.int64))
    assert (str(rule), rule.precision, rule.rows, rule.base, rule.valid) == ("anything", 1.0, 50, 1.0, False)
    assert rule.lower == 0


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize(("categorical", "words"), [([0], "kind = 7"), ([], "kind > 3")])
def test_a_value_that_no_row_has_is_the_rule_where_no_other_is_found(exact, categorical, words):
    rows = torch.stack([torch.randint(0, 4, (800,), generator=generator_of()).float(), uniform(800, 1)[:, 0]], 1)
    model = lambda z: two_classes(z[:, 0] == 7)  # noqa: E731
    options = {"categorical": categorical, "names": ["kind", "size"], "exact": exact}
    for scale in (None, (torch.zeros(2), torch.ones(2))):
        rule = anchor(model, torch.tensor([[7.0, 0.55]]), rows, scale=scale, **options)[0]
        assert rule.unseen
        assert str(rule) == words
        assert math.isnan(rule.precision)
        assert rule.to_dict()["precision"] is None
        assert (rule.rows, rule.coverage, rule.lower, rule.base, rule.valid) == (0, 0.0, 0.0, 0.0, False)
        assert (rule.found, rule.intervened) == (False, None)


def test_a_rule_about_other_columns_is_kept_though_a_value_was_not_seen():
    rows = torch.stack([torch.randint(0, 4, (800,), generator=generator_of()).float(), uniform(800, 1)[:, 0]], 1)
    model = lambda z: two_classes(z[:, 1] > 0.5)  # noqa: E731
    for categorical in ([0], []):
        rule = anchor(model, torch.tensor([[7.0, 0.9]]), rows, categorical=categorical)[0]
        assert [condition.part for condition in rule.conditions] == [1]
        assert rule.valid


def test_a_value_beyond_all_others_is_passed_over_where_rows_of_the_rule_get_the_class():
    rows = uniform(12, 2)  # too few to be sure of anything
    rule = anchor(both_large, torch.tensor([[1.5, 0.9]]), rows)[0]
    assert not rule.valid
    assert rule.precision > 0
    below = anchor(lambda z: two_classes(z[:, 0] < -1), torch.tensor([[-1.5, 0.9]]), rows)[0]
    assert below.unseen
    assert satisfies([-1.5, 0.9], below)
    assert not any(satisfies(row, below) for row in rows.tolist())


@pytest.fixture
def double():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("exact", [False, True])
def test_rules_are_found_where_float64_is_the_default(exact):
    rows = uniform(600, 3).double()
    for table in (rows, rows.float()):
        rule = anchor(both_large, torch.tensor([[0.9, 0.8, 0.1]]).to(table), table, exact=exact)[0]
        assert [condition.part for condition in rule.conditions] == [0, 1]
        assert rule.valid


@pytest.mark.parametrize("default", [torch.float32, torch.float64])
def test_the_callback_gives_the_same_rule_as_the_function(default):
    torch.set_default_dtype(default)
    try:
        rows = clinic().to(default)
        classes = old_but_for_one_kind(rows).argmax(1)
        callback = Explanations(methods=["anchors"], on_error="raise", kind="tabular", names=["age", "site"], samples=2)
        loader = DataLoader(TensorDataset(rows, classes), batch_size=500)
        toys.quiet(callback).test(Fixed(lambda z: 9 * old_but_for_one_kind(z).to(default)), loader, verbose=False)
    finally:
        torch.set_default_dtype(torch.float32)
    found = callback.results["test"]
    assert not found.saliency.skipped
    for rule in found.rules:
        check_counts(rule, rows, classes)
