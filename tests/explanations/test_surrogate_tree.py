import json
import sys

import numpy as np
import pytest
import torch
from scipy.stats import beta
from sklearn.datasets import load_iris, load_wine
from sklearn.tree import DecisionTreeClassifier

from lightning_posttrain.core.statistics.binomial import share_interval
from lightning_posttrain.explanations.functional.surrogate import fit_surrogate
from lightning_posttrain.explanations.result.rule import Condition

LOADERS = {"iris": load_iris, "wine": load_wine}


def data(name):
    loaded = LOADERS[name]()
    return torch.from_numpy(loaded.data).float(), torch.from_numpy(loaded.target), list(map(str, loaded.target_names))


def holds(condition, rows):
    values = rows[:, condition.part].double()
    high = torch.inf if condition.high is None else condition.high
    above = ~values.isnan() if condition.low is None else values > condition.low
    return above & (values <= high) | values.isnan() & condition.missing


def followed(report, rows):
    """The class that each row ends with when the branches are read from top to bottom, and each node's rows."""
    reached, path, answer = [], [], [None] * len(rows)
    for branch in report.branches:
        path = path[: branch.depth]
        here = torch.ones(len(rows), dtype=torch.bool) if not path else path[-1]
        here = here if branch.condition is None else here & holds(branch.condition, rows)
        path.append(here)
        reached.append(here)
        if branch.leaf:
            for row in here.nonzero()[:, 0].tolist():
                assert answer[row] is None
                answer[row] = branch.predicted
    return answer, reached


def split(rows, held_out=0.3, seed=0):
    order = torch.randperm(rows, generator=torch.Generator().manual_seed(seed))
    cut = rows - round(held_out * rows)
    return order[:cut], order[cut:]


@pytest.mark.parametrize("name", LOADERS)
@pytest.mark.parametrize("depth", [1, 2, 3, 5])
def test_the_branches_read_from_top_to_bottom_give_what_scikit_learns_tree_gives(name, depth):
    features, target, names = data(name)
    report = fit_surrogate(features, target, class_names=names, depth=depth)
    fitted, held = split(len(target))
    tree = DecisionTreeClassifier(max_depth=depth, min_samples_leaf=max(5, len(fitted) // 100), random_state=0)
    tree.fit(features[fitted].numpy(), target[fitted].numpy())
    wanted = [names[k] for k in tree.predict(features[held].numpy())]
    answer, reached = followed(report, features[held])
    assert answer == wanted
    actual = [names[k] for k in target[held].tolist()]
    same = [a == b for a, b in zip(answer, actual, strict=True)]
    assert report.fidelity == pytest.approx(np.mean(same))
    assert (report.fitted_rows, report.held_out_rows) == (len(fitted), len(held))
    for branch, here in zip(report.branches, reached, strict=True):
        assert branch.rows == int(here.sum())
        right = [actual[row] == branch.predicted for row in here.nonzero()[:, 0].tolist()]
        assert branch.agreement == pytest.approx(np.mean(right) if right else np.nan, nan_ok=True)
    usual = names[int(target[fitted].bincount().argmax())]
    assert report.majority_class == usual
    assert report.majority == pytest.approx(actual.count(usual) / len(actual))


@pytest.mark.parametrize(("hits", "rows"), [(0, 7), (7, 7), (3, 7), (170, 171), (450, 1000)])
def test_the_interval_is_that_of_clopper_and_pearson(hits, rows):
    low = beta.ppf(0.025, hits, rows - hits + 1) if hits else 0.0
    high = beta.ppf(0.975, hits + 1, rows - hits) if hits < rows else 1.0
    assert share_interval(hits, rows) == pytest.approx((low, high), abs=1e-9)


def test_the_interval_without_rows_is_not_defined():
    assert all(np.isnan(share_interval(0, 0)))


def test_a_question_whose_answers_lead_to_one_class_is_left_out():
    x = torch.rand(2000, 2, generator=torch.Generator().manual_seed(0))
    noisy = (x[:, 0] > 0.5) ^ (torch.rand(2000, generator=torch.Generator().manual_seed(1)) < 0.2 * x[:, 1])
    report = fit_surrogate(x, noisy.long(), depth=2)
    leaves = [branch for branch in report.branches if branch.leaf]
    assert report.questions == 1
    assert [leaf.predicted for leaf in leaves] == ["0", "1"]


def test_thresholds_are_told_in_the_units_from_before_the_normalization():
    features, target, _ = data("iris")
    mean, std = features.mean(0), features.std(0)
    plain = fit_surrogate(features, target)
    normal = fit_surrogate((features - mean) / std, target, scale=(mean, std))
    assert [b.predicted for b in normal.branches] == [b.predicted for b in plain.branches]
    for one, other in zip(plain.branches[1:], normal.branches[1:], strict=True):
        assert (one.condition.part, one.otherwise) == (other.condition.part, other.otherwise)
        cuts = [c.high if c.low is None else c.low for c in (one.condition, other.condition)]
        assert cuts[0] == pytest.approx(cuts[1], abs=1e-4)


def test_a_tree_that_beats_the_most_frequent_class_has_no_note_and_one_of_noise_says_so():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(600, 3, generator=generator)
    good = fit_surrogate(x, (x[:, 1] > 0).long())
    noise = fit_surrogate(x, (torch.rand(600, generator=generator) < 0.9).long())
    assert good.notes == ()
    assert 'no more of the model than "always 1" does' in noise.notes[0]
    assert good.scalars() == {"fidelity": good.fidelity}
    assert good.alerts == ()


def test_a_model_that_gives_one_class_alone_makes_a_tree_without_questions():
    report = fit_surrogate(torch.rand(50, 2), torch.full((50,), 2), class_names=["a", "b", "c"])
    assert (report.questions, report.fidelity, report.majority, report.majority_class) == (0, 1.0, 1.0, "c")
    assert report.branches[0].predicted == "c"
    assert "no more" in report.notes[0]


def test_leaves_hold_the_wanted_number_of_fitted_rows():
    features, target, _ = data("wine")
    assert fit_surrogate(features, target, min_rows=60, depth=6).questions <= 1


def test_it_draws_from_no_generator_of_others_and_the_same_each_time():
    features, target, _ = data("wine")
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()
    first, second = (fit_surrogate(features, target, seed=3) for _ in range(2))
    assert first.branches == second.branches
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1] == np.random.get_state()[1].tolist()
    assert fit_surrogate(features, target, seed=4).branches != first.branches


def test_the_record_is_plain_data_for_json():
    features, target, names = data("iris")
    record = json.loads(json.dumps(fit_surrogate(features, target, class_names=names).to_dict(), allow_nan=False))
    assert record["branches"][0]["condition"] is None
    assert record["branches"][1]["condition"].startswith("feature ")
    assert record["class_names"] == names


def test_a_second_child_is_what_holds_otherwise():
    features, target, _ = data("iris")
    root, first, *_ = branches = fit_surrogate(features, target, depth=1).branches
    assert [branch.otherwise for branch in branches] == [False, False, True]
    assert root.condition is None
    assert isinstance(first.condition, Condition)


@pytest.mark.parametrize("depth", [1, 2, 4])
@pytest.mark.parametrize("seed", range(4))
def test_with_missing_values_the_branches_say_where_these_go_as_scikit_learns_tree_does(depth, seed):
    generator = torch.Generator().manual_seed(seed)
    features, target, names = data("wine")
    features = features.masked_fill(torch.rand(features.shape, generator=generator) < 0.3, torch.nan)
    report = fit_surrogate(features, target, class_names=names, depth=depth, seed=seed)
    fitted, held = split(len(target), seed=seed)
    tree = DecisionTreeClassifier(max_depth=depth, min_samples_leaf=5, random_state=seed)
    tree.fit(features[fitted].numpy(), target[fitted].numpy())
    answer, _ = followed(report, features[held])
    assert answer == [names[k] for k in tree.predict(features[held].numpy())]
    assert any("or missing" in str(branch.condition) for branch in report.branches)


def test_a_model_that_goes_by_what_is_missing_makes_a_tree_that_asks_for_that():
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(400, 2, generator=generator)
    missing = torch.rand(400, generator=generator) < 0.3
    x[missing, 1] = torch.nan
    report = fit_surrogate(x, missing.long(), names=["age", "income"], depth=2)
    assert [str(branch.condition) for branch in report.branches[1:]] == ["income is known", "income is missing"]
    assert [branch.predicted for branch in report.branches[1:]] == ["0", "1"]
    assert report.fidelity == 1


def test_a_column_that_is_all_missing_is_never_asked_about():
    features, target, _ = data("iris")
    plain = fit_surrogate(features, target)
    beside = fit_surrogate(torch.cat([torch.full((150, 1), torch.nan), features], 1), target)
    assert [b.predicted for b in beside.branches] == [b.predicted for b in plain.branches]
    assert all(branch.condition.part > 0 for branch in beside.branches[1:])


def test_infinite_values_are_the_largest_and_the_smallest():
    x = torch.arange(200.0)[:, None] - 100
    x[:50], x[150:] = -torch.inf, torch.inf
    target = (torch.arange(200) >= 150).long()
    report = fit_surrogate(x, target, depth=3)
    answer, _ = followed(report, x)
    assert answer == list(map(str, target.tolist()))


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        (torch.arange(2015, 2025), "year ≤ 2019.5"),
        (torch.tensor([98051.25, 98055.5, 98056.75, 98061.5]), "year ≤ 98056"),
        (torch.tensor([1e-3, 2e-3, 3e-3, 4e-3]), "year ≤ 0.0025"),
        (torch.tensor([1e6, 1e6 + 1, 1e6 + 2, 1e6 + 3]), "year ≤ 1000001.5"),
    ],
)
@pytest.mark.parametrize("scaled", [False, True])
def test_a_question_is_told_with_digits_that_separate_neighbouring_values(values, wanted, scaled):
    middle = values.double().median() if len(values) == 10 else values.double().sort().values[1]
    x = values.repeat(30)[:, None].float()
    target = (x[:, 0].double() > middle).long()
    scale = (x.double().mean(0), x.double().std(0)) if scaled else None
    given = ((x.double() - scale[0]) / scale[1]).float() if scaled else x
    report = fit_surrogate(given, target, names=["year"], depth=1, scale=scale)
    assert str(report.branches[1].condition) == wanted
    assert torch.equal(~holds(report.branches[1].condition, x), target.bool())


X, Y = torch.rand(40, 2), torch.arange(40) % 2


@pytest.mark.parametrize(
    ("features", "predicted", "options", "words"),
    [
        (X[:19], Y[:19], {}, r"`features` is \(19, 2\), wanted \(N, F\) with 20 rows"),
        (X[:, 0], Y, {}, r"`features` is \(40,\)"),
        (X, Y[:3], {}, r"`predicted` is \(3,\)"),
        (X, Y.float(), {}, "`predicted` is .*float32, wanted a class index"),
        (X, Y, {"class_names": ["a"]}, "`predicted` holds 0 to 1, wanted 0 to 0"),
        (X, Y - 1, {}, "`predicted` holds -1 to 0, wanted 0 or more"),
        (X, Y, {"names": ["a"]}, "`names` has 1 names for 2 features"),
        (X, Y, {"depth": 0}, "`depth` is 0"),
        (X, Y, {"held_out": 1.0}, "`held_out` is 1.0"),
        (X, Y, {"scale": (torch.zeros(2), torch.zeros(2))}, "`scale` has shapes"),
        (X, Y, {"scale": (torch.zeros(3), torch.ones(3))}, "`scale` has shapes"),
    ],
)
def test_arguments_that_do_not_fit_are_named(features, predicted, options, words):
    with pytest.raises(ValueError, match=words):
        fit_surrogate(features, predicted, **options)


def test_without_scikit_learn_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.tree", None)
    with pytest.raises(ImportError, match=r"pip install 'lightning-posttrain\[sklearn\]'"):
        fit_surrogate(X, Y)
