"""LIME on parts and on rows: against scikit-learn's ridge on the same rows, and on models with a known answer."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from lightning_posttrain.attribution.chunks import Chunks
from lightning_posttrain.explanations.functional.local_linear import nearness_of_rows
from lightning_posttrain.explanations.perturbation.bins import bins_of
from lightning_posttrain.explanations.perturbation.cooperative_game import Game, pick_of
from lightning_posttrain.explanations.perturbation.lime import lime, lime_of_pool, neighbourhood
from lightning_posttrain.explanations.perturbation.perturbation_pool import draw_pool


def net(seed=0, features=6, classes=3):
    generator = torch.Generator().manual_seed(seed)
    first, second = (torch.randn(shape, generator=generator) for shape in ((features, 16), (16, classes)))
    return lambda rows: ((rows.flatten(1) @ first).tanh() @ second).softmax(1)


def rows(count=200, features=6, seed=1):
    return torch.randn(count, features, generator=torch.Generator().manual_seed(seed))


def test_of_rows_it_is_a_ridge_on_the_bins_that_are_the_samples():
    forward, background, inputs = net(), rows(), rows(3, seed=2)
    found = lime(forward, inputs, background, samples=700, seed=5)
    near = neighbourhood(forward, background, 700, 5, chunks=Chunks(64))
    cuts = np.quantile(background.numpy(), [0.25, 0.5, 0.75], axis=0)
    for k, sample in enumerate(inputs.numpy()):
        drawn = np.concatenate([sample[None], near.rows.numpy()])
        alike = (drawn[:, None] > cuts).sum(1) == (sample[None] > cuts).sum(0)
        outputs = forward(torch.tensor(drawn)).double()
        best = int(outputs[0].argmax())
        nearness = nearness_of_rows(torch.tensor(alike)).numpy()
        ridge = Ridge(alpha=1.0).fit(alike, outputs[:, best].numpy(), sample_weight=nearness)
        np.testing.assert_allclose(found.values[k], ridge.coef_, atol=1e-6)
        assert float(found.local[k]) == pytest.approx(float(ridge.predict(alike[:1])[0]), abs=1e-6)
        assert float(found.output[k]) == pytest.approx(float(outputs[0, best]), abs=1e-6)


def test_rows_are_drawn_column_by_column_from_the_background():
    background = torch.stack([torch.arange(50.0), torch.arange(50.0) + 100], 1)
    near = neighbourhood(lambda x: x, background, 4000, 0, chunks=Chunks(64))
    assert set(near.rows[:, 0].tolist()) == set(background[:, 0].tolist())
    correlation = np.corrcoef(near.rows.numpy().T)[0, 1]
    assert abs(correlation) < 0.06  # in the background it is 1


def test_a_model_of_one_column_gives_that_one_all_the_weight_and_a_category_is_compared_as_a_whole():
    background = torch.cat([rows(300, 3), torch.arange(300)[:, None] % 5.0], 1)
    inputs = background[:2]
    forward = lambda x: (x[:, 3] == x.new_tensor(1.0)).float()  # noqa: E731
    found = lime(forward, inputs, background, categorical=[3], target=0)
    assert found.values[1, 3] > 0.95
    assert found.values[0, 3] < 0
    assert found.values[:, :3].abs().max() < 0.04


def test_of_parts_the_weights_are_what_each_part_adds():
    picture = torch.ones(2, 1, 4, 4)
    parts = (torch.arange(4)[:, None] // 2 * 2 + torch.arange(4)[None] // 2)[None, None]
    gain = torch.tensor([3.0, -1.0, 0.0, 0.5])

    def forward(images):
        means = torch.nn.functional.avg_pool2d(images, 2).flatten(1)
        return torch.stack([means @ gain, -(means @ gain)], 1)

    found = lime(forward, picture, torch.zeros(1, 1, 4, 4), parts=parts, ridge=0.0)
    assert torch.allclose(found.values, gain.double().expand(2, 4), atol=1e-6)
    assert torch.allclose(found.fit, torch.ones(2).double())
    assert found.spread.max() < 1e-6  # all 16 masks were there
    assert found.forwards == 32
    other = lime(forward, picture, torch.zeros(1, 1, 4, 4), parts=parts, ridge=0.0, target=torch.tensor([0, 1]))
    assert torch.allclose(other.values[1], -gain.double(), atol=1e-6)


def test_the_spread_is_how_far_two_seeds_lie_apart():
    forward, inputs = net(2, features=40), rows(4, 40, seed=3)
    game = Game(forward, inputs, torch.arange(40)[None], 40, torch.zeros(1, 1, 40))
    found = [
        lime_of_pool(pool, pick_of(pool.outputs[:, 0], 0)) for pool in (draw_pool(game, 500, s) for s in range(20))
    ]
    pairs = zip(found[::2], found[1::2], strict=True)
    apart = torch.stack([(a.values - b.values).norm(dim=1) / a.values.norm(dim=1) for a, b in pairs]).mean(0)
    assert torch.allclose(torch.stack([one.spread for one in found]).mean(0), apart, rtol=0.25)


def test_only_as_many_weights_as_are_wanted():
    found = lime(net(), rows(2, seed=4), rows(), keep=2)
    assert (found.values != 0).sum(1).tolist() == [2, 2]


def test_an_explanation_does_not_depend_on_the_samples_beside_it_or_the_size_of_chunks():
    forward, background, inputs = net(), rows(), rows(3, seed=6)
    together = lime(forward, inputs, background, samples=300)
    alone = lime(forward, inputs[1:2], background, samples=300, chunk=7)
    assert torch.allclose(together.values[1], alone.values[0], atol=1e-6)
    torch.manual_seed(11)
    state = torch.get_rng_state()
    lime(forward, inputs, background, samples=30)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"inputs": torch.zeros(2, 3, 4)}, r"`inputs` are \(2, 3, 4\), wanted rows \(K, F\)"),
        ({"background": torch.zeros(5, 2)}, r"`background` is \(5, 2\), wanted rows \(N, 6\)"),
        ({"target": 7}, "`target` is 7, wanted an output from 0 to 2"),
        ({"target": 0.5}, "`target` is 0.5"),
        ({"bins": 1}, "`bins` is 1, wanted at least 2"),
        ({"categorical": [9]}, "`categorical` has 9, wanted columns from 0 to 5"),
        ({"forward": lambda x: {"logits": x}}, "`forward` gives dict for"),
        ({"forward": lambda x: x[:1]}, r"`forward` gives \(1, 6\) for"),
    ],
)
def test_bad_arguments_are_named(change, words):
    given = {"forward": net(), "inputs": rows(2), "background": rows(), **change}
    with pytest.raises(ValueError, match=words):
        lime(given.pop("forward"), given.pop("inputs"), given.pop("background"), **given)


def test_missing_values_are_a_bin_of_their_own():
    background = rows(400, 3)
    background[::3, 1] = torch.nan
    background[:, 2] = torch.nan
    inputs = background[:2].clone()  # the first has no second value
    found = lime(lambda x: x[:, 1].isnan().float(), inputs, background)
    assert found.values[0].argmax() == 1
    assert found.values[0, 1] > 0.8
    assert found.values[1, 1] < 0
    assert found.values[:, 2].abs().max() < 1e-9
    conditions = [str(one) for one in bins_of(background).conditions(inputs[0])]
    assert conditions[1:] == ["feature 1 is missing", "feature 2 is missing"]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_another_default_precision_changes_no_bins(dtype):
    background = rows()
    wanted = bins_of(background).cuts
    torch.set_default_dtype(dtype)
    try:
        assert torch.equal(bins_of(background).cuts, wanted)
    finally:
        torch.set_default_dtype(torch.float32)


def test_bins_hold_as_many_rows_each_and_say_what_they_mean():
    table = bins_of(rows(400, 2), bins=4)
    sample = torch.tensor([0.1, 5.0])
    share = table.alike(rows(400, 2), sample).float().mean(0)
    assert share.tolist() == pytest.approx([0.25, 0.25], abs=0.01)
    first, second = table.conditions(sample, ["a", "b"], ([10.0, 0.0], [2.0, 1.0]))
    low, high = (float(end[0]) * 2 + 10 for end in table.ends(sample))
    assert (first.low, first.high) == pytest.approx((low, high))
    assert str(second).startswith("b > ")
    assert second.high is None
