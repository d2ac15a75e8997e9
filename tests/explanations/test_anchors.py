import itertools
import math

import pytest
import torch
from scipy import stats
from sklearn import datasets

from lightning_posttrain.explanations.anchors.anchor import anchor
from lightning_posttrain.explanations.anchors.beam import grown
from lightning_posttrain.explanations.anchors.bounds import Bar, chernoff_lower, chernoff_upper, lower_bound
from lightning_posttrain.explanations.anchors.observed import beam_search, front, observed_rule
from lightning_posttrain.explanations.anchors.segment_rules import anchor_of_parts
from lightning_posttrain.explanations.perturbation.cooperative_game import Game
from lightning_posttrain.explanations.perturbation.perturbation_pool import Pool

pytestmark = pytest.mark.usefixtures("one_thread")


def both_large(rows):
    """The class is whether the first two columns are above a half."""
    large = (rows[:, :2] > 0.5).all(1)
    return torch.stack([~large, large], 1).float()


def uniform(rows, columns, seed=0):
    return torch.rand(rows, columns, generator=torch.Generator().manual_seed(seed))


def satisfied(rule, rows):
    """Which rows satisfy a rule, by its text's numbers."""
    kept = torch.ones(len(rows), dtype=torch.bool)
    for condition in rule.conditions:
        values = rows[:, condition.part].double()
        kept &= values > (-math.inf if condition.low is None else condition.low)
        kept &= values <= (math.inf if condition.high is None else condition.high)
        if condition.equal is not None:
            kept &= values == condition.equal
    return kept


def new_precision(rule, rows, classes):
    kept = satisfied(rule, rows)
    return float((classes[kept] == rule.predicted).double().mean()) if kept.any() else 1.0


@pytest.mark.parametrize("exact", [False, True])
def test_a_known_and_of_two_columns_is_found(exact):
    x = torch.tensor([[0.9, 0.8, 0.1, 0.2, 0.3], [0.1, 0.8, 0.9, 0.5, 0.4]])
    both, one = anchor(both_large, x, uniform(2000, 5), exact=exact)
    assert [(c.part, c.high) for c in both.conditions] == [(0, None), (1, None)]
    assert [c.low for c in both.conditions] == pytest.approx([0.5, 0.5], abs=0.02)
    assert both.precision == pytest.approx(1, abs=0.03)
    assert both.coverage == pytest.approx(0.25, abs=0.02)
    assert [(c.part, c.low) for c in one.conditions] == [(0, None)]
    assert one.precision == pytest.approx(1, abs=0.03)
    assert one.coverage == pytest.approx(0.5, abs=0.02)
    assert both.valid
    assert one.valid
    assert both.observed is not exact


def test_columns_that_go_together_show_as_a_precision_that_falls_under_intervention():
    shared = uniform(2000, 1)
    rows = torch.cat([shared, shared + 0.02 * uniform(2000, 1, 1)], 1)
    model = lambda x: torch.stack([0.5 - x[:, 1], x[:, 1] - 0.5], 1)  # noqa: E731
    # as a category each value of the second column is its own, so that the rule can only be about the first
    rule = anchor(model, torch.tensor([[0.9, 0.9]]), rows, categorical=[1])[0]
    assert str(rule).startswith("column 0 > 0.")
    assert rule.precision > 0.97
    # half of the rows had a small first column, and keep their small second one
    assert rule.intervened == pytest.approx(0.5, abs=0.06)


def slow_precision_under_intervention(rule, rows, model, draws, generator):
    """Row by row, as the method is described."""
    right = 0
    for _ in range(draws):
        row = rows[torch.randint(len(rows), (), generator=generator)].clone()
        for condition in rule.conditions:
            low, high = condition.low or -math.inf, condition.high or math.inf
            column = rows[:, condition.part]
            if not low < row[condition.part] <= high:
                allowed = column[(column > low) & (column <= high)]
                row[condition.part] = allowed[torch.randint(len(allowed), (), generator=generator)]
        right += int(model(row[None]).argmax()) == rule.predicted
    return right / draws


def test_precision_under_intervention_is_that_of_rows_overwritten_one_by_one():
    generator = torch.Generator().manual_seed(3)
    rows = torch.randn(400, 3, generator=generator) @ torch.tensor([[1.0, 0.8, 0.3], [0, 0.6, 0.5], [0, 0, 0.8]])
    model = lambda x: torch.stack([-x.sum(1), x.sum(1)], 1)  # noqa: E731
    for rule in anchor(model, rows[:4], rows):
        slow = slow_precision_under_intervention(rule, rows, model, 1500, generator)
        assert rule.intervened == pytest.approx(slow, abs=0.06)


@pytest.mark.parametrize("seed", [0, 1, 3])
def test_on_many_rows_no_other_conjunction_that_is_precise_holds_for_more_rows(seed):
    generator = torch.Generator().manual_seed(seed)
    weights = torch.randn(4, generator=generator)
    rows = torch.randn(6000, 4, generator=generator)
    model = lambda x: torch.stack([-(x @ weights), x @ weights + 0.3], 1)  # noqa: E731
    rule = anchor(model, rows[:1], rows, bins=3, beam=100, max_size=8)[0]
    agree = model(rows).argmax(1) == rule.predicted
    sides = []
    for column in range(4):
        for cut in rows[:, column].sort().values[[1999, 3999]]:
            above = rows[:, column] > cut
            sides.append(above if above[0] else ~above)
    best = max(
        float(kept.double().mean())
        for size in range(9)
        for some in itertools.combinations(sides, size)
        if (kept := torch.stack([torch.ones_like(agree), *some]).all(0)).any() and agree[kept].double().mean() > 0.955
    )
    assert rule.valid
    assert float(agree[satisfied(rule, rows)].double().mean()) > 0.945
    assert rule.coverage >= 0.98 * best


def test_the_front_is_that_of_all_conjunctions_one_by_one():
    generator = torch.Generator().manual_seed(1)
    hold = torch.rand(120, 6, generator=generator) < 0.6
    agree = hold[:, 0] & (torch.rand(120, generator=generator) < 0.9)
    tried = beam_search(hold, agree, torch.zeros(6, 6, dtype=torch.bool), level=3.0, ratio=2.0, beam=1000, max_size=6)
    found = front(tried)
    every = []
    for size in range(7):
        for some in itertools.combinations(range(6), size):
            kept = hold[:, list(some)].all(1)
            if kept.any():
                n, k = int(kept.sum()), int((kept & agree).sum())
                share = torch.tensor([(k + 0.7) / (n + 0.8)]).double()
                every.append((float(chernoff_lower(share, torch.tensor([2 * n]), 3.0)), n))
    best = sorted({(w, n) for w, n in every if not any(a > w + 1e-12 and b >= n for a, b in every)}, reverse=True)
    best = [pair for pair in best if not any(b > pair[1] and abs(a - pair[0]) < 1e-12 for a, b in best)]
    assert found.rows.tolist() == [n for _, n in best]


def test_the_exact_lower_bound_is_the_quantile_of_a_beta_distribution():
    for hits, rows in ((1, 3), (29, 29), (97, 100), (450, 500)):
        assert lower_bound(hits, rows) == pytest.approx(stats.beta.ppf(0.05, hits, rows - hits + 1), abs=1e-9)
        for tests in (1, 6):
            lower = stats.beta.ppf(0.05 / tests, hits, rows - hits + 1)
            assert Bar().passed(hits, rows, tests=tests) == (hits / rows >= 0.95 and lower > 0.9)


def test_fast_bounds_are_the_roots_of_the_divergence():
    share, rows = torch.tensor([0.0, 0.3, 0.9, 1.0]).double(), torch.tensor([7, 50, 400, 20])
    for bound in (chernoff_lower(share, rows, 3.0), chernoff_upper(share, rows, 3.0)):
        for p, n, q in zip(share.tolist(), rows.tolist(), bound.tolist(), strict=True):
            if 1e-6 < q < 1 - 1e-6:
                assert n * stats.entropy([p, 1 - p], [q, 1 - q]) == pytest.approx(3.0, abs=1e-4)
            else:
                assert q == pytest.approx(p, abs=1e-6)


def test_bounds_miss_the_truth_no_more_often_than_they_say():
    generator = torch.Generator().manual_seed(0)
    for truth, n in ((0.9, 40), (0.97, 100), (0.5, 30)):
        hits = (torch.rand(20_000, n, generator=generator) < truth).sum(1)
        rows = torch.full((20_000,), n)
        fast = chernoff_lower(hits.double() / n, rows, -math.log(0.05))
        exact = torch.tensor([lower_bound(k, n) for k in range(n + 1)]).double()[hits]
        assert float((fast > truth).double().mean()) <= 0.05
        assert float((exact > truth).double().mean()) <= 0.054
        assert bool((exact >= fast - 1e-6).all())


@pytest.mark.slow
def test_where_no_rule_is_good_enough_few_are_said_to_be():
    said, times = 0, 400
    generator = torch.Generator().manual_seed(0)
    bar, alone = Bar(0.9, 0.0), torch.zeros(12, 12, dtype=torch.bool)
    for _ in range(times):
        hold = torch.rand(300, 12, generator=generator) < 0.6
        agree = torch.rand(300, generator=generator) < 0.9
        parts = torch.arange(90), torch.arange(90, 300)
        _, judged = observed_rule(hold, agree, alone, parts, bar=bar, beam=10, max_size=4)
        said += judged.valid
    # 5 % of 400 and three standard deviations; the best of all rules on the rows that chose it would pass each time
    assert said <= 33


def trained(x, y, seed=0):
    torch.manual_seed(seed)
    net = torch.nn.Sequential(torch.nn.Linear(x.shape[1], 16), torch.nn.ReLU(), torch.nn.Linear(16, int(y.max()) + 1))
    optimizer = torch.optim.Adam(net.parameters(), 0.02, weight_decay=1e-3)
    for _ in range(150):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()
    return net.requires_grad_(False)


def real(name, seed=0):
    """A data set in random order, normalized."""
    data = getattr(datasets, f"load_{name}")()
    order = torch.randperm(len(data.target), generator=torch.Generator().manual_seed(seed))
    x = torch.tensor(data.data, dtype=torch.float32)[order]
    return (x - x.mean(0)) / x.std(0), torch.tensor(data.target)[order]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["breast_cancer", "wine", "iris"])
def test_valid_rules_of_real_data_hold_for_new_rows(name):
    valid = kept = 0
    for seed in range(4):
        x, y = real(name, seed)
        net = trained(x[: len(x) // 3], y[: len(x) // 3], seed)
        generator = torch.Generator().manual_seed(seed)

        def draw(number, x=x, generator=generator):
            return x[torch.randint(len(x), (number,), generator=generator)] + 0.1 * torch.randn(
                number, x.shape[1], generator=generator
            )

        rows, new = draw(500), draw(5000)
        classes = net(new).argmax(1)
        for rule in anchor(net, rows[:25], rows, predicted=net(rows).argmax(1), seed=seed):
            valid += rule.valid
            kept += rule.valid and new_precision(rule, new, classes) >= 0.9
    assert valid >= 50
    assert kept >= 0.95 * valid


@pytest.mark.slow
def test_valid_rules_of_held_out_rows_of_breast_cancer_hold():
    valid = kept = 0
    for seed in range(4):
        x, y = real("breast_cancer", seed)
        net = trained(x[:140], y[:140], seed)
        classes = net(x).argmax(1)
        for rule in anchor(net, x[140:165], x[140:440], predicted=classes[140:440], seed=seed):
            valid += rule.valid
            kept += rule.valid and new_precision(rule, x[440:], classes[440:]) >= 0.9
    assert valid >= 50
    assert kept >= 0.95 * valid


@pytest.mark.slow
def test_valid_rules_of_the_exact_search_hold_for_new_draws():
    x, y = real("wine")
    net = trained(x[:60], y[:60])
    rules = anchor(net, x[60:70], x[60:], exact=True)
    generator = torch.Generator().manual_seed(5)
    valid = [rule for rule in rules if rule.valid]
    assert len(valid) >= 5
    for rule in valid:
        assert slow_precision_under_intervention(rule, x[60:], net, 400, generator) >= 0.86
        assert rule.intervened == rule.precision


def test_the_model_is_asked_for_the_inputs_what_is_drawn_and_the_intervention_where_the_predictions_are_known():
    asked = []

    def model(rows):
        asked.append(len(rows))
        return both_large(rows)

    rows = uniform(500, 3)
    for samples in (0, 300):
        asked.clear()
        rules = anchor(model, rows[:2], rows, predicted=both_large(rows).argmax(1), samples=samples)
        assert sum(asked) == 2 + samples + 2 * 1000
        assert [rule.forwards for rule in rules] == [samples + 1001] * 2
    assert anchor(model, rows[:1], rows, samples=0)[0].forwards == 1501


def test_one_class_only_gives_a_rule_without_conditions():
    rule = anchor(lambda x: torch.stack([x[:, 0] * 0 + 1, x[:, 0] * 0], 1), uniform(1, 3), uniform(200, 3))[0]
    assert (str(rule), rule.precision, rule.coverage, rule.base, rule.valid) == ("anything", 1.0, 1.0, 1.0, True)


def test_too_few_rows_give_a_rule_that_is_said_not_to_be_valid():
    for count in (1, 2, 5, 20):
        rule = anchor(both_large, torch.tensor([[0.9, 0.9]]), uniform(count, 2))[0]
        assert not rule.valid
        assert rule.lower <= 0.9


def test_constant_columns_and_missing_values_make_no_condition():
    rows = uniform(1000, 4)
    rows[:, 2] = 3.0
    rows[::2, 3] = math.nan
    x = torch.tensor([[0.9, 0.9, 3.0, math.nan]])
    rule = anchor(both_large, x, rows)[0]
    assert [condition.part for condition in rule.conditions] == [0, 1]

    def reads_missing(values):
        low = values[:, 3] < 0.5
        return torch.stack([~low, low], 1).float()

    rule = anchor(reads_missing, torch.tensor([[0.5, 0.5, 3.0, 0.2]]), rows)[0]
    assert [condition.part for condition in rule.conditions] == [3]
    assert rule.coverage == pytest.approx(0.25, abs=0.04)
    assert rule.precision > 0.95


def test_categories_are_conditions_of_equality_and_their_own_kind_only():
    generator = torch.Generator().manual_seed(0)
    rows = torch.stack([torch.randint(0, 4, (800,), generator=generator).float(), uniform(800, 1)[:, 0]], 1)

    def model(values):
        two = values[:, 0] == 2
        return torch.stack([~two, two], 1).float()

    rules = anchor(model, torch.tensor([[2.0, 0.3], [7.0, 0.3]]), rows, categorical=[0], names=["kind", "size"])
    assert str(rules[0]) == "kind = 2"
    assert str(rules[1]) == "kind = 7"
    assert rules[1].unseen


def test_a_column_of_few_zeros_and_many_ones_is_cut_between_them():
    rows = torch.cat([(uniform(2000, 1) > 0.1).float(), uniform(2000, 1, 1)], 1)
    model = lambda x: torch.stack([0.5 - x[:, 0], x[:, 0] - 0.5], 1)  # noqa: E731
    zero = anchor(model, torch.tensor([[0.0, 0.5]]), rows)[0]
    assert str(zero) == "column 0 ≤ 0"
    assert zero.valid


def test_cuts_are_written_in_the_units_before_normalization():
    rows = uniform(1000, 2)
    scale = torch.tensor([100.0, 0.0]), torch.tensor([10.0, 1.0])
    plain, scaled = (anchor(both_large, torch.tensor([[0.1, 0.9]]), rows, scale=s)[0] for s in (None, scale))
    # both lie between the same two rows, at the shortest number there
    kept = rows[:, 0] <= plain.conditions[0].high
    assert torch.equal(kept, 100 + 10 * rows[:, 0].double() <= scaled.conditions[0].high)
    assert scaled.precision == plain.precision


def test_two_cuts_of_one_column_become_one_interval():
    rows = uniform(4000, 2)

    def model(values):
        middle = (values[:, 0] > 0.25) & (values[:, 0] <= 0.5)
        return torch.stack([~middle, middle], 1).float()

    rule = anchor(model, torch.tensor([[0.4, 0.4]]), rows)[0]
    assert len(rule.conditions) == 1
    assert (rule.conditions[0].low, rule.conditions[0].high) == pytest.approx((0.25, 0.5), abs=0.03)


def test_the_same_seed_gives_the_same_rules_and_no_generator_of_others_is_used():
    rows = uniform(300, 3)
    before = torch.get_rng_state()
    first, second = (anchor(both_large, rows[:3], rows, seed=4) for _ in range(2))
    assert first == second
    assert torch.equal(before, torch.get_rng_state())


def test_growing_drops_what_the_new_predicate_makes_superfluous():
    implies = torch.tensor([[False, True, False], [False, False, False], [False, False, False]])
    rules, came = grown(torch.tensor([[False, True, False], [False, False, True]]), implies)
    assert {tuple(rule) for rule in rules.int().tolist()} == {(1, 0, 0), (0, 1, 1), (1, 0, 1)}
    assert len(rules) == len(came) == 3


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"rows": torch.zeros(0, 2)}, r"`rows` is \(0, 2\)"),
        ({"inputs": torch.zeros(2)}, r"`inputs` is \(2,\).*x\[None\]"),
        ({"predicted": torch.zeros(3)}, r"`predicted` is torch.float32 \(3,\)"),
        ({"threshold": 1.2}, "`threshold` is 1.2"),
        ({"tolerance": 0.95}, "`tolerance` is 0.95"),
        ({"confidence": 1.0}, "`confidence` is 1.0"),
        ({"bins": 1}, "`bins` is 1, wanted 2"),
        ({"max_size": 0}, "`max_size` is 0"),
        ({"beam": 0}, "`beam` is 0"),
        ({"samples": -1}, "`samples` is -1"),
        ({"categorical": [2]}, r"`categorical` has \[2\], wanted numbers of columns, 0 to 1"),
        ({"names": ["a"]}, "`names` has 1, wanted one for each of 2"),
        ({"scale": (torch.zeros(2), torch.ones(1))}, r"`scale` is \[\(2,\), \(1,\)\]"),
        ({"forward": lambda x: x[:, 0]}, "`forward` gives 1 output a row.*stack"),
        ({"forward": lambda x: x * math.nan}, "`forward` gives NaN"),
    ],
)
def test_what_is_wrong_is_said(wrong, words):
    arguments = {"forward": both_large, "inputs": uniform(1, 2), "rows": uniform(50, 2), **wrong}
    with pytest.raises(ValueError, match=words):
        anchor(arguments.pop("forward"), arguments.pop("inputs"), arguments.pop("rows"), **arguments)


def hidden_and(parts, needed, noise=0.0, seed=0):
    """A game in which the class stays where all of some parts are there, but for some noise."""
    generator = torch.Generator().manual_seed(seed)

    def model(rows):
        there = (rows[:, needed] > 0).all(1)
        if len(rows) > 1:
            there = there ^ (torch.rand(len(rows), generator=generator) < noise)
        return torch.stack([~there, there], 1).float()

    return Game(model, torch.ones(1, parts), torch.arange(parts)[None], parts, torch.zeros(1, 1, parts))


def pool_of(game, rows=2048, seed=0):
    masks = torch.rand(rows, game.count, generator=torch.Generator().manual_seed(seed)) < 0.5
    masks[0] = True
    return Pool(masks, game.outputs(masks))


@pytest.mark.parametrize(("noise", "least"), [(0.0, 97), (0.015, 95)])
@pytest.mark.parametrize("parts", [16, 36, 64])
def test_a_known_rule_about_parts_is_recovered(parts, noise, least):
    found, forwards = 0, []
    for case in range(100):
        generator = torch.Generator().manual_seed(case)
        needed = torch.randperm(parts, generator=generator)[: 1 + case % 4]
        game = hidden_and(parts, needed, noise, case)
        rule = anchor_of_parts(game, pool_of(game, seed=case), seed=case)[0]
        found += rule.valid and {condition.part for condition in rule.conditions} == set(needed.tolist())
        forwards.append(rule.forwards)
    assert found >= least
    assert max(forwards) <= 2700


def test_kl_lucb_recovers_rules_about_parts_too():
    for case, parts in enumerate((16, 36, 64, 16)):
        needed = torch.randperm(parts, generator=torch.Generator().manual_seed(case))[: 1 + case % 4]
        game = hidden_and(parts, needed, 0.015, case)
        rule = anchor_of_parts(game, pool_of(game), exact=True)[0]
        assert {condition.part for condition in rule.conditions} == set(needed.tolist())
        assert rule.valid
        assert rule.rows == 1000


def test_a_pool_of_all_masks_gives_the_exact_precision_without_another_forward():
    game = hidden_and(5, torch.tensor([1, 3]))
    masks = (torch.arange(32)[:, None] >> torch.arange(5)) & 1 == 1
    rule = anchor_of_parts(game, Pool(masks, game.outputs(masks)), names=[["a", "b", "c", "d", "e"]])[0]
    assert str(rule) == "b AND d"
    assert (rule.precision, rule.lower, rule.rows, rule.coverage, rule.base) == (1.0, 1.0, 8, 0.25, 0.25)
    assert rule.forwards == 33


def test_a_class_that_stays_whatever_is_hidden_needs_no_part():
    game = hidden_and(12, torch.tensor([], dtype=torch.int64))
    rule = anchor_of_parts(game, pool_of(game))[0]
    assert (rule.conditions, rule.coverage, rule.valid) == ((), 1.0, True)


def test_a_model_that_decides_by_chance_gets_no_valid_rule():
    game = hidden_and(10, torch.tensor([0]), noise=0.5)
    rule = anchor_of_parts(game, pool_of(game), max_size=3)[0]
    assert not rule.valid
    assert rule.rows == 128


def test_samples_that_are_taken_apart_in_different_ways_get_rules_of_their_own():
    def model(rows):
        return torch.stack([torch.full((len(rows),), 0.5), rows[:, 0]], 1)

    parts = torch.stack([torch.arange(8), torch.arange(8).flip(0)])
    game = Game(model, torch.ones(2, 8), parts, 8, torch.zeros(1, 1, 8))
    names = [[f"{sample}{part}" for part in range(8)] for sample in "ab"]
    assert [str(rule) for rule in anchor_of_parts(game, pool_of(game, 512), names=names)] == ["a0", "b7"]


def test_a_pool_of_another_game_and_names_that_do_not_fit_are_said():
    game, other = hidden_and(6, torch.tensor([0])), hidden_and(7, torch.tensor([0]))
    with pytest.raises(ValueError, match=r"`pool` has masks \(64, 7\)"):
        anchor_of_parts(game, pool_of(other, 64))
    with pytest.raises(ValueError, match=r"`names` has \[2\], wanted 6 names"):
        anchor_of_parts(game, pool_of(game, 64), names=[["a", "b"]])
    with pytest.raises(ValueError, match="`max_size` is 0"):
        anchor_of_parts(game, pool_of(game, 64), max_size=0)
