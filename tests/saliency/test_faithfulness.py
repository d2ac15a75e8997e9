import captum.metrics
import numpy as np
import pytest
import torch
from scipy import integrate
from torch import nn

from lightning_posttrain.saliency.functional import faithfulness as ff
from lightning_posttrain.saliency.functional import insertion
from lightning_posttrain.saliency.functional.maps import order

LAYOUTS = {
    "image": ((3, 2, 5, 4), 1),
    "channels last": ((3, 5, 4, 2), 3),
    "counted from the end": ((3, 5, 4, 2), -1),
    "tabular": ((3, 7), None),
    "tokens": ((3, 6, 4), 2),
    "series": ((3, 2, 9), 1),
}
layouts = pytest.mark.parametrize(("shape", "channel_dim"), LAYOUTS.values(), ids=LAYOUTS)


def squares(rows, which):
    """Takes no part in how torch groups rows, and knows the sample."""
    return rows.double().flatten(1).square().cumsum(dim=1)[:, -1] * (1 + which)


def map_for(inputs, channel_dim):
    return torch.randn(inputs.shape if channel_dim is None else inputs.select(channel_dim, 0).shape)


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 3)).double()

    def score(self, rows, which):
        return self.layers(rows)[torch.arange(len(rows)), which % 3]


# insertion and deletion


def slow_curves(score, inputs, importance, baseline, channel_dim, steps):
    """One position at a time, in NumPy, as the paper tells it."""
    curves = {"insertion": [], "deletion": []}
    for sample in range(len(inputs)):
        x, b = (t[sample].numpy().copy() for t in (inputs, baseline.expand_as(inputs)))
        if channel_dim is not None:
            x, b = (np.moveaxis(t, channel_dim % inputs.dim() - 1, -1) for t in (x, b))
        a = importance[sample].numpy()
        ranking = [np.unravel_index(n, a.shape) for n in order(importance)[sample].tolist()]
        for name, start, other in (("insertion", b, x), ("deletion", x, b)):
            line = []
            for step in range(steps + 1):
                picture = start.copy()
                for place in ranking[: int(step * len(ranking) / steps + 0.5)]:
                    picture[place] = other[place]
                row = picture if channel_dim is None else np.moveaxis(picture, -1, channel_dim % inputs.dim() - 1)
                line.append(score(torch.from_numpy(row.copy())[None], torch.tensor([sample])).item())
            curves[name].append(line)
    return curves


@layouts
@pytest.mark.parametrize("steps", [1, 2, 5, 40])
def test_curves_equal_a_slow_walk_over_the_positions(shape, channel_dim, steps):
    inputs, baseline = torch.randn(shape), torch.randn(shape)
    importance = map_for(inputs, channel_dim).round()
    found = insertion.insertion_deletion(
        squares, inputs, importance, baseline=baseline, channel_dim=channel_dim, steps=steps, chunk=5
    )
    expected = slow_curves(squares, inputs, importance, baseline, channel_dim, steps)
    for name, curve in found._asdict().items():
        assert curve.shape == (3, steps + 1)
        np.testing.assert_allclose(curve, expected[name], rtol=1e-12)


@layouts
def test_areas_of_an_additive_score_equal_the_closed_form(shape, channel_dim):
    inputs, weight = torch.randn(shape).double(), torch.randn(shape).double()

    def additive(rows, which):
        return (rows * weight[which]).flatten(1).sum(dim=1)

    parts = inputs * weight if channel_dim is None else (inputs * weight).sum(dim=channel_dim)
    n = parts[0].numel()
    for importance in (parts, torch.randn(parts.shape)):
        curves = insertion.insertion_deletion(
            additive, inputs, importance, baseline=torch.zeros(1).double(), channel_dim=channel_dim, steps=n
        )
        c = parts.flatten(1).gather(1, order(importance))
        i = torch.arange(1, n + 1)
        torch.testing.assert_close(insertion.area(curves.insertion), (c * (n - i + 0.5) / n).sum(dim=1))
        total = insertion.area(curves.insertion) + insertion.area(curves.deletion)
        torch.testing.assert_close(total, additive(inputs, torch.arange(len(inputs))))


def test_the_ends_of_the_curves_are_the_input_and_the_baseline():
    inputs, baseline = torch.randn(4, 6), torch.randn(6)
    curves = insertion.insertion_deletion(squares, inputs, torch.randn(4, 6), baseline=baseline, channel_dim=None)
    full, empty = (squares(rows, torch.arange(4)) for rows in (inputs, baseline.expand(4, 6)))
    assert curves.insertion[:, -1].equal(full)
    assert curves.insertion[:, 0].equal(empty)
    assert curves.deletion[:, 0].equal(full)
    assert curves.deletion[:, -1].equal(empty)


@layouts
def test_chunks_change_no_bit_of_the_curves_and_are_never_exceeded(shape, channel_dim):
    inputs = torch.randn(shape)
    importance, sizes = map_for(inputs, channel_dim), []

    def counted(rows, which):
        assert len(rows) == len(which)
        sizes.append(len(rows))
        return squares(rows, which)

    def curves(chunk):
        options = {"baseline": torch.zeros(()), "channel_dim": channel_dim, "steps": 6, "chunk": chunk}
        return torch.stack(insertion.insertion_deletion(counted, inputs, importance, **options))

    whole = curves(1000)
    assert sizes == [3 * 2 * 6]
    for chunk in (1, 7, 36):
        sizes.clear()
        assert curves(chunk).equal(whole)
        assert max(sizes) == chunk


def test_the_best_order_has_the_largest_area_of_insertion_and_the_smallest_of_deletion():
    inputs = torch.rand(8, 12)
    orders = [inputs, torch.rand(8, 12), -inputs]
    found = [
        insertion.insertion_deletion(lambda r, _: r.sum(dim=1), inputs, a, baseline=torch.zeros(1), channel_dim=None)
        for a in orders
    ]
    best, chance, worst = (insertion.area(curves.insertion) - insertion.area(curves.deletion) for curves in found)
    assert (best > chance).all()
    assert (chance > worst).all()


def test_positions_of_equal_importance_do_not_come_row_by_row():
    seen = []

    def look(rows, which):
        seen.append(rows)
        return rows.sum(dim=(1, 2))

    insertion.insertion_deletion(
        look, torch.ones(1, 8, 8), torch.zeros(1, 8, 8), baseline=torch.zeros(1), channel_dim=None, steps=2
    )
    half = seen[0][1]
    assert half.sum() == 32
    assert 8 < half[:4].sum() < 24


def test_tokens_by_number_go_in_and_out_as_well():
    tokens, pad = torch.tensor([[5, 7, 9]]), torch.tensor(0)
    found = insertion.insertion_deletion(
        lambda rows, _: rows.sum(dim=1),
        tokens,
        torch.tensor([[0.0, 2.0, 1.0]]),
        baseline=pad,
        channel_dim=None,
        steps=3,
    )
    assert found.insertion.tolist() == [[0, 7, 16, 21]]
    assert found.deletion.tolist() == [[21, 14, 5, 0]]


def test_a_normalised_curve_goes_from_nothing_to_all_and_is_nan_without_a_difference():
    curve = torch.tensor([[2.0, 5.0, 4.0], [3.0, 8.0, 3.0]])
    found = insertion.normalised(curve, curve[:, -1], curve[:, 0])
    assert found[0].tolist() == [0, 1.5, 1]
    assert found[1].isnan().all()


def test_areas_equal_scipys_trapezoids():
    curve = torch.rand(5, 9)
    expected = integrate.trapezoid(curve.numpy(), dx=1 / 8, axis=1)
    np.testing.assert_allclose(insertion.area(curve), expected, rtol=1e-6)


# infidelity


@pytest.fixture
def linear():
    inputs, weight = torch.randn(4, 3, 5, dtype=torch.float64), torch.randn(4, 3, 5, dtype=torch.float64)

    def score(rows, which):
        return (rows * weight[which]).flatten(1).sum(dim=1)

    low, high = inputs.flatten(1).amin(dim=1), inputs.flatten(1).amax(dim=1)
    power = (0.1 * (high - low)) ** 2 * weight.flatten(1).square().sum(dim=1)
    return score, inputs, weight, power


def test_the_gradient_of_a_linear_score_has_no_infidelity(linear):
    score, inputs, weight, _ = linear
    assert ff.infidelity(score, inputs, weight).max() < 1e-20
    for factor in (0.001, 1, -40):
        assert ff.infidelity(score, inputs, factor * weight, normalise=True).max() < 1e-20


def test_a_map_of_zeros_has_the_variance_that_the_noise_gives_the_score(linear):
    score, inputs, weight, power = linear
    zeros = torch.zeros_like(inputs)
    found = ff.infidelity(score, inputs, zeros, draws=4000, chunk=4000)
    torch.testing.assert_close(found / power, torch.ones(4).double(), atol=0.12, rtol=0)
    assert ff.infidelity(score, inputs, zeros, normalise=True).tolist() == [1, 1, 1, 1]
    for factor in (0.5, 3, -1):
        scaled = ff.infidelity(score, inputs, factor * weight, draws=4000, chunk=4000)
        torch.testing.assert_close(scaled, (factor - 1) ** 2 * found)


def test_the_noise_is_gaussian_with_the_scale_of_each_samples_range():
    inputs = torch.cat([torch.rand(1, 4000), 50 * torch.rand(1, 4000)])
    rows = []

    def score(row, which):
        rows.append((row, which))
        return row.sum(dim=1)

    ff.infidelity(score, inputs, inputs, scale=0.3, draws=3, chunk=2)
    shifts = torch.stack([inputs[which] - row for row, which in rows if not row.equal(inputs)])
    assert shifts.shape == (3, 2, 4000)
    spread = shifts.std(dim=2) / (inputs.amax(dim=1) - inputs.amin(dim=1))
    torch.testing.assert_close(spread, torch.full((3, 2), 0.3), atol=0.012, rtol=0)
    assert torch.corrcoef(shifts.flatten(0, 1)).fill_diagonal_(0).abs().max() < 0.08


@pytest.mark.parametrize("normalise", [False, True])
def test_infidelity_equals_captums_under_the_same_noise(normalise):
    network, inputs, attribution = Network(), torch.randn(5, 6).double(), torch.randn(5, 6).double()
    which, shifts = torch.arange(5), []

    def score(rows, of):
        if not rows.equal(inputs):
            shifts.append(inputs - rows)
        return network.score(rows, of)

    found = ff.infidelity(score, inputs, attribution, draws=7, chunk=5, normalise=normalise)
    noise = iter(shifts)

    def perturb(rows):
        shift = next(noise)
        return shift, rows - shift

    options = {"n_perturb_samples": 7, "max_examples_per_batch": 5, "normalize": normalise}
    expected = captum.metrics.infidelity(
        lambda rows: network.score(rows, which), perturb, inputs, attribution, **options
    )
    if normalise:
        expected = expected / torch.stack(
            [network.score(inputs, which) - network.score(inputs - s, which) for s in shifts]
        ).square().mean(dim=0)
    torch.testing.assert_close(found, expected)


def test_normalised_infidelity_is_what_the_best_factor_leaves_unexplained():
    network, inputs, attribution = Network(), torch.randn(5, 6).double(), torch.randn(5, 6).double()
    best = ff.infidelity(network.score, inputs, attribution, normalise=True)
    nothing = ff.infidelity(network.score, inputs, torch.zeros_like(inputs))
    tried = [
        ff.infidelity(network.score, inputs, factor * attribution) / nothing for factor in torch.linspace(-2, 2, 401)
    ]
    torch.testing.assert_close(torch.stack(tried).amin(dim=0), best, atol=1e-3, rtol=0)
    assert (best >= 0).all()
    assert (best <= 1).all()


def test_contributions_to_a_linear_score_do_not_reach_zero_even_with_the_best_factor(linear):
    score, inputs, weight, _ = linear
    assert ff.infidelity(score, inputs, inputs * weight, normalise=True).min() > 0.1


def test_normalised_infidelity_survives_gradients_whose_squares_underflow():
    inputs, weight = torch.randn(3, 6), 1e-30 * torch.randn(6)
    found = ff.infidelity(lambda rows, _: rows @ weight, inputs, weight.expand(3, 6), normalise=True)
    assert found.max() < 1e-6


def test_normalised_infidelity_is_nan_where_the_score_never_moves():
    inputs = torch.randn(2, 6)
    assert ff.infidelity(lambda rows, _: rows[:, 0] * 0, inputs, inputs, normalise=True).isnan().all()


@layouts
def test_chunks_change_no_bit_of_the_infidelity(shape, channel_dim):
    inputs, sizes = torch.randn(shape), []

    def counted(rows, which):
        sizes.append(len(rows))
        return squares(rows, which)

    for normalise in (False, True):
        whole = ff.infidelity(counted, inputs, inputs, draws=6, chunk=1000, normalise=normalise)
        assert sorted(sizes) == [3, 18]
        for chunk in (1, 2, 7, 18):
            sizes.clear()
            found = ff.infidelity(counted, inputs, inputs, draws=6, chunk=chunk, normalise=normalise)
            assert found.equal(whole)
            assert max(sizes) <= chunk
        sizes.clear()


def test_the_seed_alone_decides_the_noise():
    network, inputs = Network(), torch.randn(5, 6).double()

    def both(seed):
        rough = ff.infidelity(network.score, inputs, inputs, seed=seed)
        return torch.stack([rough, ff.max_sensitivity(lambda rows: rows.tanh(), inputs, seed=seed)])

    first = both(0)
    torch.manual_seed(99)
    state = torch.get_rng_state()
    assert both(0).equal(first)
    assert torch.get_rng_state().equal(state)
    assert not both(1).equal(first)


# sensitivity


def gradient_of_squares(rows):
    rows = rows.clone().requires_grad_()
    return torch.autograd.grad(rows.square().sum(), rows)[0]


@pytest.mark.parametrize("shape", [(4, 3, 6, 5), (4, 7)])
def test_the_sensitivity_of_the_gradient_of_squares_stays_below_its_bound_and_comes_near(shape):
    inputs = torch.randn(shape)
    flat = inputs.flatten(1)
    d = flat.shape[1]
    bound = 0.05 * (flat.amax(dim=1) - flat.amin(dim=1)) * d**0.5 / flat.norm(dim=1)
    found = ff.max_sensitivity(gradient_of_squares, inputs, radius=0.05, draws=20)
    assert (found <= bound).all()
    # the root of the mean square of uniform noise is 1 / sqrt(3) of its largest
    assert (found >= bound / 3**0.5).all()


def test_a_constant_map_has_no_sensitivity():
    assert ff.max_sensitivity(torch.ones_like, torch.randn(3, 5)).tolist() == [0, 0, 0]


def test_sensitivity_survives_maps_whose_squares_underflow_and_is_nan_for_a_map_of_zeros():
    inputs = torch.randn(3, 9)
    tiny = ff.max_sensitivity(lambda rows: 1e-28 * rows, inputs)
    torch.testing.assert_close(tiny, ff.max_sensitivity(lambda rows: rows, inputs))
    assert ff.max_sensitivity(torch.zeros_like, inputs).isnan().all()


def test_sensitivity_grows_with_more_draws_and_not_with_the_scale_of_the_map():
    inputs = torch.randn(6, 9)
    few, many = (ff.max_sensitivity(torch.sin, inputs, draws=draws) for draws in (2, 10))
    assert (many >= few).all()
    torch.testing.assert_close(ff.max_sensitivity(lambda rows: 8 * rows.sin(), inputs, draws=2), few)


def test_sensitivity_equals_captums_under_the_same_noise():
    inputs, seen = torch.randn(5, 2, 6).double(), []

    def explain(rows):
        seen.append(rows)
        return (rows**3).sum(dim=1)

    found = ff.max_sensitivity(explain, inputs, draws=6)
    assert len(seen) == 7
    changed = iter(seen[1:])
    expected = captum.metrics.sensitivity_max(
        lambda rows: tuple(explain(each) for each in rows) if isinstance(rows, tuple) else explain(rows),
        inputs,
        perturb_func=lambda rows: next(changed),
        n_perturb_samples=6,
        max_examples_per_batch=5,
    )
    torch.testing.assert_close(found, expected)


def test_sensitivity_changes_no_value_by_more_than_its_radius_of_the_samples_range():
    inputs, seen = torch.cat([torch.rand(1, 2000), 30 * torch.rand(1, 2000)]), []

    def explain(rows):
        seen.append(rows)
        return rows

    ff.max_sensitivity(explain, inputs, radius=0.1, draws=2)
    change = (torch.stack(seen[1:]) - inputs) / (inputs.amax(dim=1) - inputs.amin(dim=1))[:, None]
    assert change.abs().max() <= 0.1 + 1e-6
    assert change.std() == pytest.approx(0.1 / 3**0.5, rel=0.03)
    assert change.mean().abs() < 0.003


def test_an_explanation_may_take_gradients_of_what_it_is_given():
    def explain(rows):
        assert rows.is_leaf
        rows.requires_grad_()
        rows.square().sum().backward()
        return rows.grad

    inputs = torch.randn(2, 5)
    found = ff.max_sensitivity(explain, inputs)
    torch.testing.assert_close(found, ff.max_sensitivity(gradient_of_squares, inputs))
    assert not inputs.requires_grad


# all of them


def test_no_graph_is_kept():
    weight = torch.randn(4, requires_grad=True)
    inputs = torch.randn(3, 4, requires_grad=True)

    def score(rows, which):
        assert not torch.is_grad_enabled()
        return rows @ weight

    curves = insertion.insertion_deletion(score, inputs, inputs * weight, baseline=weight, channel_dim=None)
    found = [
        *curves,
        insertion.area(curves.insertion),
        insertion.normalised(curves.insertion, weight[:3], weight[1:]),
        ff.infidelity(score, inputs, inputs * weight),
        ff.infidelity(score, inputs, inputs * weight, normalise=True),
        ff.max_sensitivity(lambda rows: rows * weight, inputs),
    ]
    assert not any(tensor.requires_grad for tensor in found)
