import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage, stats
from torch.nn import functional as F

from lightning_posttrain.saliency.functional import maps

SHAPES = [(4, 12, 9), (4, 30), (2, 5, 4, 3)]


def half_of(shape):
    return torch.rand(shape) < 0.5


@pytest.mark.parametrize("shape", SHAPES)
def test_the_order_goes_from_the_largest_value_to_the_smallest(shape):
    importance = torch.randn(shape)
    np.testing.assert_array_equal(maps.order(importance), (-importance.flatten(1).numpy()).argsort(axis=1))


def test_equal_values_come_in_one_shuffled_order():
    constant = torch.zeros(2, 16, 16)
    first = maps.order(constant)
    assert first.sort(dim=1).values.equal(torch.arange(256).expand(2, 256))
    assert first[0].equal(first[1])
    assert first.equal(maps.order(constant))
    upper = (first[0, :128] < 128).sum()
    assert 40 < upper < 88


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("tolerance", [0, 1, 2.5])
def test_the_pointing_game_measures_the_distance_from_the_peak_to_the_object(shape, tolerance):
    for _ in range(8):
        importance, mask = torch.randn(shape), torch.rand(shape) < 0.1
        found = maps.pointing_game(importance, mask, tolerance=tolerance)
        for row, values, inside in zip(found, importance.numpy(), mask.numpy(), strict=True):
            peak = np.unravel_index(values.argmax(), values.shape)
            away = [math.dist(peak, place) for place in np.argwhere(inside)]
            assert row == any(distance <= tolerance for distance in away)


def test_a_tolerance_is_a_circle_and_not_a_square():
    importance, mask = torch.zeros(1, 9, 9), torch.zeros(1, 9, 9, dtype=torch.bool)
    importance[0, 4, 4], mask[0, 6, 6] = 1, True
    assert maps.pointing_game(importance, mask, tolerance=2.9).item()
    assert not maps.pointing_game(importance, mask, tolerance=2.8).item()


def test_a_constant_map_does_not_point_at_the_first_pixel():
    mask = torch.zeros(1, 8, 8, dtype=torch.bool)
    mask[0, 0, 0] = True
    assert not maps.pointing_game(torch.zeros(1, 8, 8), mask).item()


@pytest.mark.parametrize("shape", SHAPES)
def test_the_energy_share_counts_what_is_positive(shape):
    importance, mask = torch.randn(shape), half_of(shape)
    expected = [
        sum(v for v, inside in zip(a, m, strict=True) if inside and v > 0) / sum(v for v in a if v > 0)
        for a, m in zip(importance.flatten(1).tolist(), mask.flatten(1).tolist(), strict=True)
    ]
    assert maps.energy_share(importance, mask).tolist() == pytest.approx(expected, abs=1e-6)


def test_the_energy_share_of_a_map_without_a_positive_value_is_nan():
    assert maps.energy_share(-torch.ones(1, 4), torch.ones(1, 4, dtype=torch.bool)).isnan().item()


@pytest.mark.parametrize("shape", SHAPES)
def test_a_uniform_map_has_in_every_mask_what_chance_would_give(shape):
    mask = half_of(shape)
    signs = torch.randn(shape).sign()
    torch.testing.assert_close(maps.share_over_area(3 * signs, mask), torch.ones(len(mask)))
    torch.testing.assert_close(maps.share_over_area(signs, mask[0]), torch.ones(len(mask)))


@pytest.mark.parametrize("shape", SHAPES)
def test_all_importance_in_the_mask_is_the_whole_over_its_area(shape):
    mask = half_of(shape)
    found = maps.share_over_area(torch.rand(shape) * mask, mask)
    torch.testing.assert_close(found, 1 / mask.flatten(1).float().mean(dim=1))


def test_shares_of_half_precision_do_not_overflow():
    importance, mask = torch.full((1, 200, 200), 100.0, dtype=torch.float16), torch.zeros(1, 200, 200).bool()
    mask[:, :50] = True
    assert maps.energy_share(importance, mask).item() == pytest.approx(0.25)
    assert maps.entropy(importance).item() == pytest.approx(1)


@pytest.mark.parametrize("shape", SHAPES)
def test_entropy_equals_scipys_over_its_maximum(shape):
    importance = torch.randn(shape)
    rows = np.abs(importance.flatten(1).numpy())
    expected = stats.entropy(rows, axis=1) / math.log(rows.shape[1])
    np.testing.assert_allclose(maps.entropy(importance), expected, atol=1e-6)
    torch.testing.assert_close(maps.entropy(-7 * importance), maps.entropy(importance))


@given(arrays(np.float32, (2, 3, 13), elements=st.integers(-3, 3).map(float)))
def test_rank_correlation_equals_scipys_with_ties(values):
    a, b = torch.from_numpy(values)
    for x, y, found in zip(a, b, maps.rank_correlation(a, b), strict=True):
        if x.unique().numel() == 1 or y.unique().numel() == 1:
            assert found.isnan()
        else:
            assert found.item() == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-6)


def test_rank_correlation_of_large_maps_equals_scipys():
    a = torch.randn(2, 224, 224)
    b = (a + torch.randn(2, 224, 224)).round(decimals=1)
    expected = [stats.spearmanr(x.flatten(), y.flatten()).statistic for x, y in zip(a, b, strict=True)]
    assert maps.rank_correlation(a, b).tolist() == pytest.approx(expected, abs=2e-6)


@pytest.mark.parametrize("shape", SHAPES)
def test_rank_correlation_sees_the_order_alone(shape):
    a = torch.randn(shape)
    torch.testing.assert_close(maps.rank_correlation(a, a.exp()), torch.ones(len(a)))
    torch.testing.assert_close(maps.rank_correlation(a, -(a**3)), -torch.ones(len(a)))


def test_edges_equal_scipys_sobel():
    images = torch.rand(3, 11, 8, 3)
    for found, image in zip(maps.edges(images), images.numpy(), strict=True):
        gray = image.mean(axis=2)
        np.testing.assert_allclose(found, np.hypot(ndimage.sobel(gray, 0), ndimage.sobel(gray, 1)), atol=1e-5)


@pytest.mark.parametrize("side", [1, 2, 5, 32])
@pytest.mark.parametrize("share", [0.01, 0.1, 0.15, 0.3])
def test_border_and_corners_are_counted_from_the_nearest_end(side, share):
    shape = (side, 20)
    border, corners = maps.border(shape, share), maps.corners(shape, share)
    for row in range(side):
        for column in range(20):
            at_end = [
                min(place, length - 1 - place) < max(1, round(share * length))
                for place, length in ((row, side), (column, 20))
            ]
            assert border[row, column] == any(at_end)
            assert corners[row, column] == all(at_end)


def test_a_series_has_ends_and_no_corners():
    assert maps.border((10,)).tolist() == [True] + 8 * [False] + [True]
    assert maps.corners((10,)) is None


LAYOUTS = {
    "image": ((2, 3, 16, 12), 1, (16, 12)),
    "channels last": ((2, 16, 12, 3), 3, (16, 12)),
    "counted from the end": ((2, 16, 12, 3), -1, (16, 12)),
    "gray": ((2, 16, 12), None, (16, 12)),
    "series": ((2, 3, 20), 1, (20,)),
    "tokens": ((2, 20, 5), 2, (20,)),
    "tabular": ((2, 20), None, (20,)),
}


@pytest.mark.parametrize(("shape", "channel_dim", "spatial"), LAYOUTS.values(), ids=LAYOUTS)
def test_a_blur_changes_the_mask_alone_to_the_mean_of_the_surroundings(shape, channel_dim, spatial):
    inputs = torch.rand(shape, dtype=torch.float64)
    expected = inputs.numpy()
    for dim, side in enumerate(shape):
        if side in spatial and (channel_dim is None or dim != channel_dim % len(shape)):
            expected = ndimage.uniform_filter1d(expected, 2 * (side // 4) + 1, axis=dim, mode="mirror")
    for mask in (half_of(spatial), half_of((2, *spatial))):
        found = maps.blurred(inputs, mask, channel_dim)
        inside = maps.over_channels(mask.expand(2, *spatial), channel_dim).expand(shape)
        np.testing.assert_allclose(found[inside], expected[inside.numpy()], atol=1e-12)
        assert found[~inside].equal(inputs[~inside])


def test_a_blur_of_the_corners_takes_most_of_a_marker_there():
    images, corners = torch.zeros(1, 1, 40, 40), maps.corners((40, 40))
    images[:, :, corners] = 1
    assert maps.blurred(images, corners, 1).max() < 0.4


@pytest.mark.parametrize("side", [1, 2, 3])
def test_a_blur_takes_the_shortest_sides(side):
    inputs = torch.rand(1, 1, side, 8)
    everything = torch.ones(side, 8, dtype=torch.bool)
    column = torch.arange(side).float().view(1, 1, side, 1).expand_as(inputs)
    assert maps.blurred(column, everything, 1).equal(column) == (side == 1)
    assert maps.blurred(inputs, everything, 1).shape == inputs.shape
    torch.testing.assert_close(maps.blurred(torch.ones_like(inputs), everything, 1), torch.ones_like(inputs))


def test_a_blur_of_everything_equals_pooling_by_torch():
    images = torch.rand(2, 3, 16, 16)
    expected = F.avg_pool2d(F.pad(images, (4, 4, 4, 4), mode="reflect"), 9, stride=1)
    torch.testing.assert_close(maps.blurred(images, torch.ones(16, 16, dtype=torch.bool), 1), expected)


def test_no_graph_is_kept_and_the_global_generator_is_not_touched():
    a, mask = torch.rand(2, 8, 8, requires_grad=True), torch.ones(2, 8, 8, dtype=torch.bool)
    state = torch.get_rng_state()
    found = [
        maps.order(a),
        maps.pointing_game(a, mask, tolerance=1),
        maps.energy_share(a, mask),
        maps.share_over_area(a, mask),
        maps.entropy(a),
        maps.rank_correlation(a, a),
        maps.edges(a[..., None]),
        maps.blurred(a, mask, None),
    ]
    assert not any(tensor.requires_grad for tensor in found)
    assert torch.get_rng_state().equal(state)
