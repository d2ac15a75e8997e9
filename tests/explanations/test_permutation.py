import itertools
import math

import numpy as np
import pytest
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import load_wine
from sklearn.inspection import permutation_importance as by_sklearn
from torch.nn.functional import cross_entropy

from lightning_posttrain.explanations.functional.permutation import permutation_importance
from lightning_posttrain.explanations.functional.pooled import pooled_features

W = torch.tensor([[1.5, 0.0], [-1.0, 0.5], [0.0, 0.0]])


def linear(rows):
    return rows.flatten(1).float() @ W


def drawn(rows, seed):
    """Three features, the first two of which go along with each other, and classes that the model half knows."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, 3, generator=generator)
    x[:, 1] += 0.7 * x[:, 0]
    chance = linear(x).softmax(1)[:, 1]
    return x, (torch.rand(rows, generator=generator) < chance).long()


def loss_of(row, target):
    logits = linear(row[None])[0].double().tolist()
    return math.log(sum(map(math.exp, logits))) - logits[target]


def over_all_pairs(x, y):
    """Fisher, Rudin and Dominici: each row with the value of each other row, one after the other."""
    rises = []
    for feature in range(x.shape[1]):
        total = []
        for i, k in itertools.permutations(range(len(x)), 2):
            row = x[i].clone()
            row[feature] = x[k, feature]
            total.append(loss_of(row, int(y[i])) - loss_of(x[i], int(y[i])))
        rises.append(np.mean(total))
    return rises


def named(drops):
    return {drop.name: drop for drop in drops}


@pytest.mark.parametrize("repeats", [11, 50])
def test_with_a_repeat_for_each_other_row_it_is_the_mean_over_all_pairs(repeats):
    x, y = drawn(12, 0)
    found = named(permutation_importance(linear, x, y, repeats=repeats, names=["a", "b", "c"]))
    assert [found[name].loss for name in "abc"] == pytest.approx(over_all_pairs(x, y), abs=1e-6)


def test_it_agrees_with_scikit_learn():
    loaded = load_wine()
    x = torch.from_numpy(loaded.data).float()[::2]
    x = (x - x.mean(0)) / x.std(0)
    y = torch.from_numpy(loaded.target)[::2]
    weight = torch.randn(13, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    class Net(ClassifierMixin, BaseEstimator):
        classes_ = np.arange(3)

        def fit(self, x, y):
            return self

        def predict_proba(self, x):
            return (torch.from_numpy(x) @ weight).softmax(1).numpy()

        def predict(self, x):
            return self.predict_proba(x).argmax(1)

    ours = named(permutation_importance(lambda rows: rows.double() @ weight, x, y, repeats=88))
    scoring = ["neg_log_loss", "accuracy"]
    theirs = by_sklearn(Net(), x.double().numpy(), y.numpy(), scoring=scoring, n_repeats=15, random_state=0)
    rows = len(x)
    for name, figure in (("neg_log_loss", "loss"), ("accuracy", "accuracy")):
        found = np.array([getattr(ours[f"feature {j}"], figure) for j in range(13)])
        # a permutation leaves one row of N where it is, on average
        means, spread = theirs[name].importances_mean * rows / (rows - 1), theirs[name].importances_std / 15**0.5
        assert np.abs(found - means).max() < 5 * spread.max()
        assert np.corrcoef(found, means)[0, 1] > 0.99


def skewed(rows, seed):
    """A feature whose large values make every row that borrows them worse."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, 3, generator=generator)
    x[:, 0] = x[:, 0] ** 2 - 2
    chance = (2 * linear(x)).softmax(1)[:, 1]
    return x, (torch.rand(rows, generator=generator) < chance).long()


def test_its_interval_covers_the_truth_as_often_as_it_says_and_one_of_borrowers_alone_does_not():
    def forward(rows):
        return 2 * linear(rows)

    x, y = skewed(200_000, 999)
    truth = named(permutation_importance(forward, x, y, repeats=2, chunk=1 << 20))["feature 0"].loss
    covered, alone = [], []
    for seed in range(300):
        x, y = skewed(150, seed)
        drop = named(permutation_importance(forward, x, y, repeats=5, seed=seed))["feature 0"]
        covered.append(drop.low <= truth <= drop.high)
        alone.append(_of_borrowers_alone(forward, x, y, truth))
    assert 0.92 <= np.mean(covered) <= 0.985
    assert np.mean(alone) < 0.85


def _of_borrowers_alone(forward, x, y, truth):
    """Whether the interval that takes the rows that lend as given holds the truth."""
    others = [torch.cat([x.roll(-step, 0)[:, :1], x[:, 1:]], 1) for step in range(1, 6)]
    losses = [cross_entropy(forward(rows), y, reduction="none") for rows in (x, *others)]
    rise = torch.stack(losses[1:]).mean(0) - losses[0]
    return abs(float(rise.mean()) - truth) <= 1.96 * float(rise.std()) / len(x) ** 0.5


def test_a_feature_that_the_model_does_not_read_changes_nothing():
    x, y = drawn(60, 0)
    found = named(permutation_importance(linear, x, y))["feature 2"]
    assert (found.loss, found.low, found.high, found.accuracy) == (0.0, 0.0, 0.0, 0.0)


def test_the_decrease_of_accuracy_is_that_of_rows_one_by_one():
    x, y = drawn(10, 3)
    found = named(permutation_importance(linear, x, y, repeats=9))["feature 0"]
    before = float((linear(x).argmax(1) == y).float().mean())
    hits = []
    for i, k in itertools.permutations(range(10), 2):
        row = x[i].clone()
        row[0] = x[k, 0]
        hits.append(int(linear(row[None]).argmax()) == int(y[i]))
    assert found.accuracy == pytest.approx(before - np.mean(hits))


@pytest.mark.parametrize("chunk", [1, 7, 64, 10_000])
def test_the_size_of_a_chunk_does_not_matter(chunk):
    x, y = drawn(20, 0)
    seen = []

    def forward(rows):
        seen.append(len(rows))
        return linear(rows)

    wanted = permutation_importance(linear, x, y, repeats=3)
    found = permutation_importance(forward, x, y, repeats=3, chunk=chunk)
    for one, other in zip(found, wanted, strict=True):
        assert one.name == other.name
        assert vars(one)["loss"] == pytest.approx(other.loss, abs=1e-6)
    assert max(seen) <= chunk
    assert sum(seen) == 20 + 3 * 3 * 20


def test_a_part_of_many_values_is_replaced_as_one():
    x = torch.rand(30, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    y = (x[:, 0, :2, :2].sum((1, 2)) > 2).long()
    pooled = pooled_features(x, "image")

    def forward(rows):
        cell = rows[:, 0, :2, :2].sum((1, 2))
        return torch.stack([2 - cell, cell - 2], 1) * 3

    drops = permutation_importance(forward, x, y, parts=pooled.parts, names=pooled.names)
    assert drops[0].name == "row 1, column 1"
    assert drops[0].low > 0
    assert all(drop.loss == pytest.approx(0, abs=1e-6) for drop in drops[1:])


def test_no_row_of_the_caller_is_changed_and_no_generator_of_others_is_drawn_from():
    x, y = drawn(20, 0)
    kept, state = x.clone(), torch.get_rng_state()
    permutation_importance(lambda rows: linear(rows.mul_(2)), x, y)
    assert torch.equal(x, kept)
    assert torch.equal(state, torch.get_rng_state())


def test_scores_that_are_not_numbers_leave_a_figure_undefined_and_last():
    x, y = drawn(20, 0)

    def forward(rows):
        return linear(rows).masked_fill((rows[:, 1:2] != x[:, 1:2]).any() & torch.ones(1, dtype=torch.bool), torch.nan)

    drops = permutation_importance(forward, x, y, chunk=20)
    assert math.isnan(drops[-1].loss)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"target": torch.zeros(3).long()}, r"`target` \(3,\), wanted"),
        ({"names": ["a"]}, "`names` has 1 names for 3 features"),
        ({"parts": torch.arange(2)}, r"`parts` is \(2,\)"),
        ({"repeats": 0}, "`repeats` is 0"),
        ({"forward": lambda rows: rows[:, 0]}, r"`forward` gives \(20,\) for 20 rows"),
    ],
)
def test_arguments_that_do_not_fit_are_named(options, words):
    x, y = drawn(20, 0)
    given = {"forward": linear, "inputs": x, "target": y, **options}
    with pytest.raises(ValueError, match=words):
        permutation_importance(given.pop("forward"), given.pop("inputs"), given.pop("target"), **given)


def stopping(calls):
    """What is over after so many forwards of 12 rows as they are, one by one, and of mixed ones."""
    asked = iter(range(10**6))
    # asked once more where the rows as they are have come to their end
    return lambda: next(asked) >= calls + (calls >= 12)


@pytest.mark.parametrize(("calls", "repeats"), [(12 * 4, 1), (12 * 4 + 35, 1), (12 * 7, 2), (12 * 9 + 1, 2)])
def test_where_the_time_is_over_the_repeats_that_are_done_count(calls, repeats):
    x, y = drawn(12, 0)
    found = permutation_importance(linear, x, y, repeats=5, chunk=1, over=stopping(calls))
    assert found == permutation_importance(linear, x, y, repeats=repeats, chunk=1)


@pytest.mark.parametrize(("calls", "features"), [(0, 0), (11, 0), (12, 0), (23, 0), (24, 1), (47, 2)])
def test_where_no_repeat_is_done_the_features_of_the_first_count(calls, features):
    x, y = drawn(12, 0)
    found = named(permutation_importance(linear, x, y, repeats=5, chunk=1, over=stopping(calls)))
    whole = named(permutation_importance(linear, x, y, repeats=1, chunk=1))
    assert found == {f"feature {i}": whole[f"feature {i}"] for i in range(features)}
