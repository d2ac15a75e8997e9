import inspect

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression

from lightning_posttrain.ensembles import STRATEGIES, TITLES, fit_strategies
from lightning_posttrain.ensembles.functional.combination import Combination
from lightning_posttrain.ensembles.functional.folds import fold_of
from lightning_posttrain.ensembles.functional.stacking import CS, FOLDS, best_c, stack, why_not_stacking
from lightning_posttrain.ensembles.functional.strategies import SINGLE_WEIGHTS
from lightning_posttrain.ensembles.functional.weights import greedy_weights, mixture_weights, product_weights
from tests.ensembles import drawn as slow
from tests.ensembles.drawn import drawn, loss_of

CASES = [(300, 4, 3, 0), (300, 4, 3, 1), (120, 7, 5, 2), (900, 2, 2, 3), (60, 3, 2, 4), (250, 1, 4, 5)]
each_case = pytest.mark.parametrize("case", CASES, ids=str)


def em_with_rare_members_left_out(logp, target):
    weights, _ = slow.em(logp, target)
    weights = weights * (weights * (len(target) + 1) >= 1)
    return weights / weights.sum()


def joint_of(name, logp, target):
    """What a strategy gives, from its formula."""
    members = logp.shape[1]
    single = np.eye(members)[int(np.argmin([loss_of(logp[:, k], target) for k in range(members)]))]
    equal = np.full(members, 1 / members)
    plain = {
        "best": lambda: slow.mixture(logp, single),
        "mean": lambda: slow.mixture(logp, equal),
        "mean_logits": lambda: slow.product(logp, equal),
        "greedy": lambda: slow.mixture(logp, slow.greedy(logp, target)),
        "convex": lambda: slow.mixture(logp, em_with_rare_members_left_out(logp, target)),
        "log_linear": lambda: slow.product(logp, slow.log_linear(logp, target)[0]),
    }
    joint = plain[name.removesuffix("_temperature")]()
    return slow.log_softmax(joint / slow.coldest(joint, target), axis=1) if name.endswith("_temperature") else joint


@pytest.mark.parametrize("name", [name for name in STRATEGIES if name != "stacking"])
@each_case
def test_a_strategy_gives_what_its_formula_gives(name, case):
    rows, members, classes, seed = case
    logp, target = drawn(rows, members, classes, seed)
    found = STRATEGIES[name](logp, target)(logp)
    assert np.allclose(found, joint_of(name, logp, target), atol=2e-4)
    assert torch.allclose(found.exp().sum(1), torch.ones(rows, dtype=torch.float64), atol=1e-12)


@each_case
def test_convex_weights_are_the_fixed_point_of_expectation_and_maximisation(case):
    rows, members, classes, seed = case
    logp, target = drawn(rows, members, classes, seed)
    weights, objective = slow.em(logp, target)
    assert (np.diff(objective) >= -1e-9).all()
    assert np.allclose(mixture_weights(logp, target), em_with_rare_members_left_out(logp, target), atol=1e-5)
    assert weights.sum() == pytest.approx(1)


def test_convex_weights_have_the_least_loss_that_scipy_finds_on_the_simplex():
    logp, target = drawn(500, 5, 4)
    found = minimize(
        lambda weights: loss_of(slow.mixture(logp, weights), target), np.full(5, 0.2), method="SLSQP",
        bounds=[(1e-9, 1)] * 5, constraints={"type": "eq", "fun": lambda weights: weights.sum() - 1},
        options={"ftol": 1e-13},
    )  # fmt: skip
    ours = loss_of(slow.mixture(logp, mixture_weights(logp, target, prior=1e-6)), target)
    assert ours == pytest.approx(found.fun, abs=1e-5)


@each_case
def test_weights_of_log_probabilities_are_those_of_scipy_within_bounds(case):
    rows, members, classes, seed = case
    logp, target = drawn(rows, members, classes, seed)
    expected, least = slow.log_linear(logp, target)
    found = product_weights(logp, target)
    assert np.allclose(found, expected, atol=1e-4)
    assert loss_of(slow.product(logp, found), target) <= least + 1e-10
    assert ((found == 0).numpy() == (expected < 1e-6)).all()


def test_weights_of_log_probabilities_stay_finite_where_all_members_are_always_right():
    logp = torch.tensor([[0.9, 0.1], [0.8, 0.2]], dtype=torch.float64).log().expand(50, 2, 2)
    found = product_weights(logp, torch.zeros(50, dtype=torch.long))
    assert float(found.min()) > 0
    assert float(found.max()) <= 100
    assert bool(Combination("logits", found)(logp).isfinite().all())


def test_members_that_know_nothing_get_the_highest_temperature():
    logp = torch.tensor([[0.9, 0.1]], dtype=torch.float64).log().expand(60, 1, 2)
    wrong = torch.ones(60, dtype=torch.long)
    assert float(product_weights(logp, wrong).sum()) == pytest.approx(0.01)


@each_case
def test_greedy_selection_is_that_of_every_bag_tried_in_turn(case):
    rows, members, classes, seed = case
    logp, target = drawn(rows, members, classes, seed)
    assert np.allclose(greedy_weights(logp, target), slow.greedy(logp, target))


def test_greedy_selection_takes_the_first_of_equal_members_and_keeps_the_best_round():
    logp, target = drawn(200, 2, 3)
    twice = torch.cat([logp[:, :1], logp[:, :1], logp[:, 1:]], dim=1)
    weights = greedy_weights(twice, target)
    assert weights[1] == 0
    assert torch.equal(weights[[0, 2]], greedy_weights(logp, target))
    assert greedy_weights(logp[:, :1], target).tolist() == [1.0]


@pytest.mark.parametrize("c", [1e-3, 1e-2, 1.0])
def test_stacking_minimises_its_objective_as_scipy_does(c):
    logp, target = drawn(300, 3, 3)
    objective = slow.stacking_objective(logp, target, c)
    expected = minimize(objective, np.zeros(9 * 3 + 3), jac=True, method="L-BFGS-B", options={"maxiter": 5000, "ftol": 1e-15, "gtol": 1e-8})  # fmt: skip  # noqa: E501
    found = stack(logp, target, c)
    value, slope = objective(np.concatenate([found.coefficients.numpy().ravel(), found.bias.numpy()]))
    assert value == pytest.approx(expected.fun, rel=1e-8)
    assert np.abs(slope).max() < 0.01
    assert np.allclose(found.coefficients.numpy().ravel(), expected.x[:-3], atol=1e-3)


def test_stacking_without_the_mean_is_scikit_learns_regression():
    logp, target = drawn(400, 2, 3)
    logp = torch.cat([logp, -logp], dim=1)  # members whose mean is nothing
    found = stack(logp.clamp(min=-30), target, 0.1)
    features = logp.clamp(min=-30).flatten(1).numpy()
    expected = LogisticRegression(C=0.1, tol=1e-10, max_iter=5000).fit(features, target)
    assert np.allclose(found.coefficients.numpy().T, expected.coef_, atol=1e-3)
    assert np.allclose(found(logp.clamp(min=-30)).exp(), expected.predict_proba(features), atol=1e-3)


def test_stacking_goes_to_the_mean_of_logits_as_its_pull_grows():
    logp, target = drawn(300, 3, 3)
    mean = STRATEGIES["mean_logits"](logp, target)(logp)
    apart = []
    for c in (1e-2, 1e-4, 1e-8):
        found = stack(logp, target, c)
        plain = Combination("stacked", found.weights, coefficients=found.coefficients, bias=torch.zeros(3))
        apart.append(float((plain(logp) - mean).abs().max()))
    assert apart[0] > apart[1] > apart[2]
    assert apart[2] < 1e-4


@pytest.mark.parametrize("rows", [40, 300])
def test_the_pull_of_stacking_is_the_one_with_the_least_loss_on_folds_left_out(rows):
    logp, target = drawn(rows, 2, 3, sharp=3.0)
    fold = fold_of(rows, FOLDS, seed=1)

    def left_out(c):
        total = 0.0
        for number in range(FOLDS):
            inside, out = fold != number, fold == number
            objective = slow.stacking_objective(logp[inside], target[inside], c)
            flat = minimize(objective, np.zeros(6 * 3 + 3), jac=True, method="L-BFGS-B").x
            found = Combination(
                "stacked",
                torch.full((2,), 0.5),
                coefficients=torch.tensor(flat[:-3].reshape(6, 3)),
                bias=torch.tensor(flat[-3:]),
            )
            total += loss_of(found(logp[out]), target[out]) * int(out.sum())
        return total

    losses = [left_out(c) for c in CS]
    assert best_c(logp, target) == CS[int(np.argmin(losses))]


def test_stacking_is_offered_where_there_are_rows_and_time_for_it():
    assert why_not_stacking(1000, 12, 10) == ""
    assert why_not_stacking(140, 3, 2) == ""
    assert why_not_stacking(139, 3, 2) == "139 rows outside of a fold are too few, wanted 140 at least"
    assert why_not_stacking(999, 12, 10) == "999 rows outside of a fold are too few, wanted 1,000 at least"
    assert why_not_stacking(10**6, 5, 1000) == "5,001,000 numbers are too many to fit, 20,000 at most"


def test_stacking_of_very_many_rows_takes_a_sample(monkeypatch):
    logp, target = drawn(3000, 3, 3)
    whole = STRATEGIES["stacking"](logp, target)
    monkeypatch.setattr("lightning_posttrain.ensembles.functional.stacking.MOST_PRODUCTS", 2000 * 3 * 9)
    part = STRATEGIES["stacking"](logp, target)
    assert not torch.equal(part.coefficients, whole.coefficients)
    assert loss_of(part(logp), target) < loss_of(whole(logp), target) + 0.02


@pytest.mark.parametrize("name", list(STRATEGIES))
def test_the_order_of_members_changes_the_order_of_weights_alone(name):
    logp, target = drawn(1200, 4, 3)
    order = torch.tensor([2, 0, 3, 1])
    found, moved = STRATEGIES[name](logp, target), STRATEGIES[name](logp[:, order], target)
    assert torch.allclose(found.weights[order], moved.weights, atol=1e-6)
    assert torch.allclose(found(logp), moved(logp[:, order]), atol=1e-4)


@pytest.mark.parametrize("name", list(STRATEGIES))
def test_the_order_of_rows_does_not_matter_but_to_folds(name):
    logp, target = drawn(1200, 4, 3)
    order = torch.randperm(1200, generator=torch.Generator().manual_seed(1))
    found, moved = STRATEGIES[name](logp, target), STRATEGIES[name](logp[order], target[order])
    assert torch.allclose(found(logp), moved(logp), atol=1e-4)


@pytest.mark.parametrize("name", list(STRATEGIES))
def test_a_fit_is_the_same_whatever_random_numbers_were_drawn_before(name):
    logp, target = drawn(1100, 3, 3)
    states = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        states.append(STRATEGIES[name](logp, target).to_state())
        assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(torch.as_tensor(states[0][key]), torch.as_tensor(states[1][key])) for key in states[0] if key != "how")  # fmt: skip  # noqa: E501


@each_case
def test_what_is_fitted_is_no_worse_on_its_rows_than_what_is_simpler(case):
    rows, members, classes, seed = case
    logp, target = drawn(rows, members, classes, seed)
    loss = {name: loss_of(STRATEGIES[name](logp, target)(logp), target) for name in STRATEGIES if name != "stacking"}
    close = 1e-6
    assert loss["greedy"] <= loss["best"] + close
    assert loss["log_linear"] <= min(loss["mean_logits_temperature"], loss["best_temperature"]) + close
    for name, value in loss.items():
        if name.endswith("_temperature"):
            assert value <= loss[name.removesuffix("_temperature")] + close


@each_case
def test_a_mean_is_no_worse_than_its_members_on_average(case):
    rows, members, classes, seed = case
    logp, target = drawn(rows, members, classes, seed)
    on_average = np.mean([loss_of(logp[:, k], target) for k in range(members)])
    for name in ("mean", "mean_logits"):
        assert loss_of(STRATEGIES[name](logp, target)(logp), target) <= on_average + 1e-12


def test_strategies_fitted_together_are_those_fitted_alone():
    logp, target = drawn(1100, 3, 3)
    together = fit_strategies(list(STRATEGIES), logp, target)
    assert list(together) == list(STRATEGIES)
    for name, found in together.items():
        assert torch.equal(found(logp), STRATEGIES[name](logp, target)(logp))


def test_a_strategy_can_be_fitted_in_inference_mode_and_to_float32():
    with torch.inference_mode():
        logp, target = drawn(1100, 3, 3)
        found = fit_strategies(list(STRATEGIES), logp.float(), target)
    for name, combination in found.items():
        assert not combination.weights.is_inference(), name
        assert combination.weights.dtype == torch.float64


def test_every_strategy_has_a_title_and_every_fit_a_sentence():
    assert set(TITLES) == {*STRATEGIES, *SINGLE_WEIGHTS}
    assert all(inspect.getdoc(fit) for name, fit in STRATEGIES.items() if not name.endswith("_temperature"))


def test_an_unknown_strategy_is_refused_by_name():
    logp, target = drawn(20, 2, 2)
    with pytest.raises(ValueError, match=r"`strategies` is 'voting', wanted some of 'best', .*Leave it out for all"):
        fit_strategies(["mean", "voting"], logp, target)
    with pytest.raises(ValueError, match="`strategies` is empty"):
        fit_strategies([], logp, target)


@pytest.mark.parametrize("name", ["best_temperature", "mean_temperature", "convex_temperature", "log_linear"])
def test_rows_without_an_error_make_nothing_surer_than_their_number_tells(name):
    rows, generator = 200, torch.Generator().manual_seed(0)
    target = torch.randint(3, (rows,), generator=generator)
    margin = 2 + torch.rand(rows, 2, 1, generator=generator).double()
    logp = (margin * torch.nn.functional.one_hot(target, 3)[:, None]).log_softmax(2)  # all right, by some margin
    found = fit_strategies([name], logp, target)[name]
    expected = float((1 - found(logp).exp().amax(1)).mean())
    assert expected == pytest.approx(1 / (rows + 2), rel=1e-6)  # Laplace: one error in N + 2
    plain = fit_strategies(["mean"], logp, target)["mean"]
    assert expected < float((1 - plain(logp).exp().amax(1)).mean())


def test_a_member_that_is_sure_already_is_made_no_less_sure_for_the_number_of_rows():
    target = torch.arange(30) % 3
    logp = (30.0 * torch.nn.functional.one_hot(target, 3)[:, None]).double().log_softmax(2)
    assert fit_strategies(["best_temperature"], logp, target)["best_temperature"].temperature == pytest.approx(
        1.0, rel=1e-6
    )
