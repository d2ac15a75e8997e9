import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_posttrain.attribution.chunks import OutOfTimeError
from lightning_posttrain.explanations.perturbation import plans
from lightning_posttrain.explanations.perturbation.coalitions import different_of_size
from lightning_posttrain.explanations.perturbation.perturbation_pool import draw_pool
from lightning_posttrain.explanations.perturbation.plans import planned
from lightning_posttrain.explanations.perturbation.shapley import all_outputs, shapley, shapley_of_game, shapley_of_pool
from tests.explanations.games import game_of, network_of, slow_shapley, value_of

METHODS = ("exact", "kernel", "permutation")
methods = pytest.mark.parametrize("method", METHODS)


def small_plans(count, seed=0):
    """A plan of each method that leaves coalitions out where it can."""
    few = {"exact": None, "kernel": min(2 * count + 8, 2**count - 2) if count > 3 else None, "permutation": 6 * count}
    return {method: planned(count, method, few[method], seed) for method in METHODS}


def told(plan, outputs):
    """Values and errors ``(M,)`` of a game whose outputs ``(2^M,)`` are listed by the coalition's bits."""
    number = (plan.coalitions.long() << torch.arange(plan.half.shape[1])).sum(1)
    there, others = outputs[number].chunk(2)
    return tuple(part[0, :, 0] for part in plan.solve((there - others)[None, :, None]))


def bits(parts):
    return sum(1 << part for part in parts)


@st.composite
def games(draw, least=1):
    count = draw(st.integers(least, 6))
    numbers = st.lists(st.floats(-100, 100), min_size=2**count, max_size=2**count)
    return count, torch.tensor(draw(numbers), dtype=torch.float64), draw(st.integers(0, 99))


# what the values are


@settings(max_examples=40)
@given(games())
def test_exact_values_equal_the_mean_over_all_orders(game):
    count, outputs, _ = game
    expected = slow_shapley(lambda parts: float(outputs[bits(parts)]), count)
    np.testing.assert_allclose(told(planned(count, "exact"), outputs)[0], expected, atol=1e-10)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_values_of_a_network_equal_a_slow_walk_over_all_orders_and_background_rows(count):
    net, x, background = network_of(count), torch.randn(2, count), torch.randn(4, count)
    found = all_outputs(game_of(net, x, background))
    assert found.method == "exact"
    for k, c in itertools.product(range(2), range(3)):
        value = value_of(net, x[k], background, c)
        np.testing.assert_allclose(found.values[k, c], slow_shapley(value, count), atol=1e-6)
        np.testing.assert_allclose(found.base[k, c], value(frozenset()), atol=1e-6)
        np.testing.assert_allclose(found.output[k, c], value(frozenset(range(count))), atol=1e-6)


@methods
def test_the_larger_of_two_values_is_shared_as_the_closed_form_says(method):
    found = shapley(lambda rows: rows.amax(1), torch.tensor([[5.0, 2.0], [1.0, 4.0]]), torch.zeros(1, 2), method=method)
    assert found.values.tolist() == [[4.0, 1.0], [0.5, 3.5]]


@methods
def test_a_product_is_shared_evenly(method):
    found = shapley(lambda rows: rows.prod(1), torch.tensor([[2.0, 3.0]]), torch.zeros(1, 2), method=method)
    assert found.values.tolist() == [[3.0, 3.0]]


@pytest.mark.parametrize("method", ["kernel", "permutation"])
@pytest.mark.parametrize("count", [4, 13, 40])
def test_a_sum_gives_each_part_its_own_share_without_error_whatever_is_drawn(count, method):
    x, background, weights = torch.randn(3, count), torch.randn(7, count), torch.randn(count)
    samples = 10 if count == 4 else 2 * count + 30
    found = shapley(lambda rows: rows @ weights, x, background, method=method, samples=samples)
    assert found.method == method
    np.testing.assert_allclose(found.values, weights * (x - background.mean(0)), atol=2e-5)
    assert found.errors.nan_to_num().max() < 1e-5


def test_a_game_of_pairs_of_parts_is_exact_by_the_kernel():
    count = 20
    weights = torch.randn(count, count)
    game = game_of(lambda rows: torch.einsum("ni,ij,nj->n", rows, weights, rows), torch.randn(1, count))
    x = game.inputs[0]
    each = x[:, None] * weights * x
    found = all_outputs(game, samples=200)
    assert found.method == "kernel"
    np.testing.assert_allclose(found.values[0, 0], (each.sum(0) + each.sum(1)) / 2, atol=1e-4)


# laws


@given(games(least=2))
def test_values_add_up_by_every_method(game):
    count, outputs, seed = game
    for plan in small_plans(count, seed).values():
        np.testing.assert_allclose(told(plan, outputs)[0].sum(), outputs[-1] - outputs[0], atol=1e-9)


@given(games(), st.integers(0, 2**32), st.floats(-3, 3))
def test_values_are_linear_in_the_game_by_every_method(game, other, factor):
    count, outputs, seed = game
    second = torch.randn(2**count, dtype=torch.float64, generator=torch.Generator().manual_seed(other))
    for plan in small_plans(count, seed).values():
        expected = told(plan, outputs)[0] + factor * told(plan, second)[0]
        np.testing.assert_allclose(told(plan, outputs + factor * second)[0], expected, atol=1e-9)


@given(games(), st.data())
def test_a_part_that_adds_nothing_is_worth_nothing(game, data):
    count, outputs, _ = game
    part = data.draw(st.integers(0, count - 1))
    without = torch.arange(2**count) & ~(1 << part)
    assert abs(told(planned(count, "exact"), outputs[without])[0][part]) < 1e-9


@given(games(least=2), st.data())
def test_parts_that_may_stand_for_each_other_are_worth_the_same(game, data):
    count, outputs, _ = game
    one, two = data.draw(st.lists(st.integers(0, count - 1), min_size=2, max_size=2, unique=True))
    numbers = torch.arange(2**count)
    swapped = numbers & ~(1 << one | 1 << two) | (numbers >> one & 1) << two | (numbers >> two & 1) << one
    values = told(planned(count, "exact"), outputs + outputs[swapped])[0]
    np.testing.assert_allclose(values[one], values[two], atol=1e-9)


# what is asked for


SIZES = [(4, 14), (7, 30), (9, 200), (13, 500), (14, 8000), (30, 700), (64, 131)]


@pytest.mark.parametrize(("count", "samples"), SIZES)
def test_the_kernel_asks_for_no_coalition_twice_and_for_no_more_than_it_may(count, samples):
    rows = planned(count, "kernel", samples).coalitions
    assert len(rows.unique(dim=0)) == len(rows)
    assert samples - 1 <= len(rows) <= samples
    assert rows[0].all()
    assert not rows[len(rows) // 2].any()
    sizes = rows.sum(1).bincount(minlength=count + 1)
    assert sizes.equal(sizes.flip(0))
    assert sizes[1] == count


def test_the_kernel_takes_all_of_a_size_that_is_worth_it_and_some_of_every_other():
    sizes = planned(13, "kernel", 1400).coalitions.sum(1).bincount().tolist()
    assert sizes[:3] == [1, 13, 78]
    assert all(0 < sizes[size] < math.comb(13, size) for size in (4, 5, 6))


@pytest.mark.parametrize("count", [5, 6])
def test_every_coalition_of_a_size_is_drawn_as_often(count):
    generator = torch.Generator().manual_seed(0)
    for size, number in ((2, 2), (2, 7), (count // 2, 1)):
        taken = torch.tensor([0] * (size - 1) + [number])
        seen = torch.cat([different_of_size(count, taken, generator) for _ in range(300)])
        kinds, counts = seen.unique(dim=0, return_counts=True)
        whole = math.comb(count, size) // (2 if 2 * size == count else 1)
        assert len(kinds) == whole
        expected = 300 * number / whole
        assert (counts - expected).square().sum() / expected < whole + 5 * math.sqrt(2 * whole)


@pytest.mark.parametrize(("count", "samples"), [(5, 20), (9, 60), (9, 300), (13, 200)])
def test_kernel_values_equal_weighted_least_squares_under_a_constraint(count, samples):
    plan = planned(count, "kernel", samples, seed=3)
    half, weights, _ = plans._pairs(count, samples // 2 - 1, torch.Generator().manual_seed(3))
    masks = torch.cat([half, ~half]).double().numpy()
    weights = np.tile(weights.numpy(), 2)
    game = game_of(network_of(count), torch.randn(1, count))
    low, high = (game.outputs(torch.full((1, count), there))[0, 0].double().numpy() for there in (False, True))
    wanted = game.outputs(torch.cat([half, ~half]))[0].double().numpy() - low
    system = np.ones((count + 1, count + 1))
    system[:count, :count], system[count, count] = masks.T * weights @ masks, 0
    solved = np.linalg.solve(system, np.vstack([masks.T * weights @ wanted, high - low]))[:count]
    outputs = game.outputs(plan.coalitions).double()
    there, others = outputs.chunk(2, dim=1)
    np.testing.assert_allclose(plan.solve(there - others).values[0], solved, atol=1e-9)


def test_permutations_equal_a_slow_walk_there_and_back():
    count, net = 6, network_of(6)
    plan, x = planned(count, "permutation", 62, seed=1), torch.randn(1, 6)
    value, rows = value_of(net, x[0], torch.zeros(1, count), 1), plan.half[1:].view(-1, count - 1, count)
    each = []
    for steps in rows:
        order = sorted(range(count), key=lambda part: -int(steps[:, part].sum()))
        for walk in (order, order[::-1]):
            sets = [frozenset(walk[:place]) for place in range(count + 1)]
            added = {part: value(sets[place + 1]) - value(sets[place]) for place, part in enumerate(walk)}
            each.append([added[part] for part in range(count)])
    pairs = np.array(each).reshape(-1, 2, count).mean(1)
    found = all_outputs(game_of(net, x), method="permutation", samples=62, seed=1)
    assert len(pairs) == 6
    np.testing.assert_allclose(found.values[0, 1], pairs.mean(0), atol=1e-6)
    np.testing.assert_allclose(found.errors[0, 1], pairs.std(0, ddof=1) / math.sqrt(6), atol=1e-6)


@pytest.mark.parametrize(("count", "options", "method"), [
    (1, {"method": "permutation"}, "exact"), (12, {}, "exact"), (13, {}, "kernel"), (12, {"samples": 1000}, "kernel"),
    (5, {"method": "kernel"}, "exact"), (5, {"method": "kernel", "samples": 32}, "exact"),
    (5, {"method": "kernel", "samples": 31}, "kernel"), (5, {"method": "permutation"}, "permutation"),
    (13, {"method": "exact", "samples": 10}, "exact"), (13, {"samples": 2**13}, "exact"),
])  # fmt: skip
def test_the_method_follows_from_the_number_of_parts_and_of_samples(count, options, method):
    assert planned(count, **options).method == method


# how far it is off


@pytest.mark.parametrize(("method", "samples"), [("kernel", 60), ("kernel", 400), ("permutation", 700)])
def test_standard_errors_are_as_large_as_the_errors(method, samples):
    game = game_of(network_of(13), torch.randn(4, 13) * 2)
    exact = all_outputs(game, method="exact").values
    found = [all_outputs(game, method=method, samples=samples, seed=seed) for seed in range(12)]
    off = torch.stack([(each.values - exact) / each.errors for each in found])
    assert 0.8 < off.square().mean().sqrt() < 1.25
    assert (off.abs() > 3).double().mean() < 0.025


def test_kernel_values_are_right_on_average_and_the_error_falls_with_the_samples():
    game = game_of(network_of(13), torch.randn(2, 13) * 2)
    exact = all_outputs(game, method="exact").values
    error = []
    for samples in (100, 400, 1600):
        found = torch.stack([all_outputs(game, method="kernel", samples=samples, seed=s).values for s in range(24)])
        error.append(float((found - exact).norm() / exact.norm() / math.sqrt(24)))
        assert (found.mean(0) - exact).norm() / exact.norm() < 0.5 * error[-1]
    assert error[0] < 0.12
    assert error[1] < error[0] / 1.9
    assert error[2] < error[1] / 1.9


@pytest.mark.parametrize(
    ("method", "samples"), [("kernel", 28), ("kernel", 34), ("permutation", 26), ("permutation", 74)]
)
def test_too_few_draws_tell_no_standard_error(method, samples):
    found = all_outputs(game_of(network_of(13), torch.randn(2, 13)), method=method, samples=samples)
    assert found.errors.isnan().all()
    assert found.values.isfinite().all()


# what it does not depend on


@methods
def test_values_do_not_depend_on_chunks_or_on_other_samples(method):
    net, x, background = network_of(11), torch.randn(3, 11), torch.randn(3, 11)
    whole = shapley(net, x, background, target=1, method=method, samples=300)
    chunked = shapley(net, x, background, target=1, method=method, samples=300, chunk=200)
    alone = [shapley(net, row[None], background, target=1, method=method, samples=300) for row in x]
    for name in ("values", "errors", "base", "output"):
        expected = getattr(whole, name)
        np.testing.assert_allclose(getattr(chunked, name), expected, atol=1e-6)
        np.testing.assert_allclose(torch.cat([getattr(each, name) for each in alone]), expected, atol=1e-6)


@pytest.mark.parametrize("method", ["kernel", "permutation"])
def test_values_follow_from_the_seed_and_leave_the_generator_alone(method):
    game = game_of(network_of(20), torch.randn(1, 20))
    state = torch.get_rng_state()
    first, again, other = (all_outputs(game, method=method, samples=200, seed=seed).values for seed in (1, 1, 2))
    assert torch.get_rng_state().equal(state)
    assert first.equal(again)
    assert not first.equal(other)


def test_parts_of_pictures_are_worth_what_the_same_parts_of_a_row_are():
    pictures, background = torch.randn(2, 3, 4, 4), torch.randn(5, 3, 4, 4)
    parts = torch.arange(2).repeat_interleave(2)[:, None] * 2 + torch.arange(2).repeat_interleave(2)
    weights = torch.randn(3 * 16, 4)

    def net(rows):
        return (rows.flatten(1) @ weights).tanh()

    found = shapley(net, pictures, background, parts=parts[None, None], target=2)
    assert found.values.shape == (2, 4)
    for k in range(2):

        def value(there, k=k):
            mixed = torch.where(torch.isin(parts, torch.tensor(list(there))), pictures[k], background)
            return float(net(mixed)[:, 2].mean())

        np.testing.assert_allclose(found.values[k], slow_shapley(value, 4), atol=1e-6)


def test_each_sample_may_be_taken_apart_in_its_own_way():
    x, background, parts = torch.randn(2, 6), torch.randn(3, 6), torch.tensor([[0, 0, 1, 1, 2, 2], [2, 1, 0, 2, 1, 0]])
    found = shapley(network_of(6), x, background, parts=parts, target=1, count=4)
    np.testing.assert_allclose(found.values[:, 3], 0, atol=1e-12)
    for k in range(2):
        alone = shapley(network_of(6), x[k, None], background, parts=parts[k, None], target=1)
        np.testing.assert_allclose(found.values[k, None, :3], alone.values, atol=1e-6)


# what is explained


def test_the_largest_output_of_each_sample_is_explained_unless_another_is_named():
    net, x, background = network_of(4), torch.randn(6, 4), torch.randn(3, 4)
    every, predicted = all_outputs(game_of(net, x, background)), net(x).argmax(1)
    assert len(predicted.unique()) > 1
    rows = torch.arange(6)
    for target, column in ((None, predicted), (2, torch.full((6,), 2)), (predicted.flip(0), predicted.flip(0))):
        found = shapley(net, x, background, target=target)
        for name in ("values", "errors", "base", "output"):
            assert getattr(found, name).equal(getattr(every, name)[rows, column])


def test_one_output_a_row_needs_no_target():
    x, background = torch.randn(3, 4), torch.randn(3, 4)
    one = shapley(lambda rows: rows.prod(1), x, background)
    assert one.values.equal(shapley(lambda rows: rows.prod(1, keepdim=True), x, background, target=0).values)


def test_weighted_outputs_are_explained_together():
    game = game_of(network_of(5), torch.randn(2, 5))
    every = all_outputs(game)
    picks = torch.tensor([[[1.0, 0, 0], [1, -1, 0]], [[0, 0, 1], [0, -2, 1]]])
    found = shapley_of_game(game, picks)
    assert found.values.shape == (2, 2, 5)
    np.testing.assert_allclose(found.values, picks.double() @ every.values, atol=1e-12)
    one = shapley_of_game(game, picks[:, 1])
    np.testing.assert_allclose(one.values, found.values[:, 1], atol=1e-12)
    np.testing.assert_allclose(one.output - one.base - one.values.sum(1), one.gap, atol=1e-15)
    assert one.gap.abs().max() < 1e-12


def test_an_infinite_output_spoils_only_its_own_values():
    game = game_of(lambda rows: torch.stack([rows.sum(1), rows.sum(1) - torch.inf], 1), torch.ones(1, 3))
    found = shapley_of_game(game, torch.tensor([[1.0, 0.0]]))
    np.testing.assert_allclose(found.values, torch.ones(1, 3), atol=1e-12)


@methods
def test_forwards_are_the_rows_that_the_model_saw(method):
    seen = []

    def net(rows):
        seen.append(len(rows))
        return rows.sum(1)

    found = shapley(net, torch.randn(3, 6), torch.randn(4, 6), method=method, samples=40)
    assert found.forwards == sum(seen)
    assert found.forwards <= 3 * 4 * (64 if method == "exact" else 40)


def test_a_time_that_is_over_is_said():
    game = game_of(network_of(5), torch.randn(2, 5), seconds=-1)
    with pytest.raises(OutOfTimeError):
        all_outputs(game)


X = torch.randn(2, 13)
WRONG = [
    ({"method": "sampling"}, "`method` is 'sampling', wanted one of auto, exact, kernel, permutation"),
    ({"samples": 27}, "`samples` is 27 for 13 parts, wanted at least 28"),
    ({"samples": 25, "method": "permutation"}, "`samples` is 25 for 13 parts, wanted at least 26"),
    ({"parts": torch.arange(21).repeat(1, 1)[:, :13] + 8, "method": "exact"}, "`count` is 21, wanted 1 to 20 parts"),
    ({"inputs": X[0]}, r"`inputs` is \(13,\), wanted samples"),
    ({"inputs": X[:0]}, r"`inputs` is \(0, 13\), wanted samples"),
    ({"inputs": X[:, None], "background": X[:, None]}, r"`inputs` is \(2, 1, 13\), wanted \(K, F\)"),
    ({"background": X[:, :5]}, r"`background` is \(2, 5\), wanted rows as those of `inputs`, which are"),
    ({"background": X[:0]}, r"`background` is \(0, 13\), wanted rows"),
    ({"parts": torch.zeros(13)}, "`parts` is torch.float32"),
    ({"parts": torch.arange(13)}, r"`parts` is torch.int64 \(13,\) for inputs \(2, 13\)"),
    ({"parts": torch.arange(13)[None] - 1}, "`parts` has numbers from -1 to 11"),
    ({"count": 12}, "`parts` has numbers from 0 to 12 for 12 parts"),
    ({"target": 3}, "`target` is 3, wanted an output from 0 to 2, or one for each of 2 samples"),
    ({"target": torch.tensor([0.0, 1.0])}, "`target` is .* wanted an output from 0 to 2"),
    ({"target": torch.tensor([0, 1, 2])}, "`target` is .* or one for each of 2 samples"),
]


@pytest.mark.parametrize(("options", "words"), WRONG)
def test_what_cannot_be_is_refused_in_words(options, words):
    with pytest.raises(ValueError, match=words):
        shapley(network_of(13), **{"inputs": X, "background": X, **options})


@pytest.mark.parametrize("shape", [(3,), (2, 4), (1, 3), (2, 1, 4)])
def test_weights_that_do_not_fit_the_outputs_are_refused(shape):
    with pytest.raises(ValueError, match=r"`pick` is .* for 2 samples with 3 outputs"):
        shapley_of_game(game_of(network_of(3), torch.randn(2, 3)), torch.ones(shape))


def test_a_complete_pool_gives_exact_values_without_another_forward():
    game = game_of(network_of(6), torch.randn(3, 6, generator=torch.Generator().manual_seed(0)))
    pick = torch.eye(game.outputs(torch.ones(1, 6, dtype=torch.bool)).shape[2])[[1, 0, 1]]
    found, wanted = shapley_of_pool(draw_pool(game), pick), shapley_of_game(game, pick, method="exact")
    torch.testing.assert_close(found.values, wanted.values, rtol=0, atol=1e-9)
    torch.testing.assert_close(found.base, wanted.base)
    torch.testing.assert_close(found.output, wanted.output)
    assert (found.method, found.forwards, float(found.errors.abs().max())) == ("exact", 0, 0.0)
    assert float(found.gap.abs().max()) < 1e-9
    with pytest.raises(ValueError, match=r"`pool` has 20 of 2\^6 sets"):
        shapley_of_pool(draw_pool(game, 20), pick)
