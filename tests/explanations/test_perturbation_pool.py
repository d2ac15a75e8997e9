import math
import time

import numpy as np
import pytest
import torch

from lightning_posttrain.explanations.perturbation.perturbation_pool import (
    banzhaf,
    draw_pool,
    kernel_shap_from_pool,
    rise,
)
from tests.explanations.games import every_mask, game_of, network_of, slow_banzhaf, slow_shapley, value_of


def asked(count, masks, *, samples=2):
    """A network's outputs for masks, and where no part is there."""
    game = game_of(network_of(count), torch.randn(samples, count) * 2)
    return game, game.outputs(masks), game.outputs(torch.zeros(1, count, dtype=torch.bool))[:, 0]


@pytest.mark.parametrize("count", [1, 2, 4, 9])
def test_a_pool_has_every_mask_once_where_that_is_cheap(count):
    pool = draw_pool(game_of(network_of(count), torch.randn(2, count)), 512)
    assert len(pool) == 2**count
    assert len(pool.present.unique(dim=0)) == 2**count
    assert pool.present[0].all()


def test_a_larger_game_gets_masks_of_even_odds_after_one_of_all_parts():
    game = game_of(network_of(40), torch.randn(2, 40))
    pool = draw_pool(game, 4000)
    assert pool.present.shape == (4000, 40)
    assert pool.present[0].all()
    share = pool.present[1:].double().mean(0)
    assert (share - 0.5).abs().max() < 4.5 * 0.5 / math.sqrt(3999)
    assert pool.outputs.equal(game.outputs(pool.present))


@pytest.mark.parametrize("count", [9, 40])
def test_masks_depend_on_the_seed_and_on_nothing_else(count):
    game = game_of(network_of(count), torch.randn(2, count))
    first, again, other = (draw_pool(game, 600, seed).present for seed in (3, 3, 4))
    state = torch.get_rng_state()
    draw_pool(game, 600)
    assert torch.get_rng_state().equal(state)
    assert first.equal(again)
    assert not first.equal(other)


def test_a_pool_that_ran_out_of_time_is_a_smaller_sample_of_all_masks():
    net = network_of(10)

    def slow(rows):
        time.sleep(0.05)
        return net(rows)

    pool = draw_pool(game_of(slow, torch.randn(1, 10), chunk=64, seconds=0.12), 1024)
    assert 16 <= len(pool) < 1024
    assert pool.outputs.shape[1] == len(pool)
    share = pool.present.double().mean(0)
    assert (share - 0.5).abs().max() < 0.3


def test_fewer_than_one_mask_is_refused():
    with pytest.raises(ValueError, match="`samples` is 0, wanted 1 or more"):
        draw_pool(game_of(network_of(3), torch.randn(1, 3)), 0)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_all_masks_give_the_values_of_the_definitions(count):
    masks = every_mask(count)
    game, outputs, _ = asked(count, masks)
    found = {slow_shapley: kernel_shap_from_pool(masks, outputs), slow_banzhaf: banzhaf(masks, outputs)}
    for k, x in enumerate(game.inputs):
        for c in range(3):
            value = value_of(game.forward, x, torch.zeros(1, count), c)
            for slow, values in found.items():
                np.testing.assert_allclose(values[k, c], slow(value, count), atol=1e-6)


def test_banzhaf_values_of_a_sample_of_masks_are_the_slopes_of_a_linear_fit():
    masks = torch.rand(100, 7) < 0.5
    _, outputs, _ = asked(7, masks)
    columns = np.column_stack([np.ones(100), masks.numpy()])
    for k in range(2):
        slopes = np.linalg.lstsq(columns, outputs[k].double().numpy(), rcond=None)[0][1:]
        np.testing.assert_allclose(banzhaf(masks, outputs)[k], slopes.T, atol=1e-9)


def test_rise_is_the_mean_over_masks_with_the_part():
    masks = torch.rand(50, 6) < 0.5
    masks[:, 4] = False
    _, outputs, _ = asked(6, masks)
    found = rise(masks, outputs)
    for part in range(6):
        expected = outputs[:, masks[:, part]].double().mean(1)
        np.testing.assert_allclose(found[:, :, part], expected, atol=1e-12)
    assert found[:, :, 4].isnan().all()


def test_shapley_values_from_a_sample_of_masks_are_near_where_they_are_given():
    masks = every_mask(13)
    game, outputs, base = asked(13, masks)
    exact = kernel_shap_from_pool(masks, outputs)
    errors = []
    for seed in range(8):
        pool = draw_pool(game, 4096, seed)
        found = kernel_shap_from_pool(pool.present, pool.outputs, base)
        errors.append(float((found - exact).norm() / exact.norm()))
        np.testing.assert_allclose(found.sum(2), (pool.outputs[:, 0] - base).double(), atol=1e-12)
    assert max(errors) < 0.15


@pytest.mark.parametrize(("count", "least", "most"), [(11, 8, 8), (12, 3, 8), (16, 0, 0), (24, 0, 0), (200, 0, 0)])
def test_shapley_values_are_given_where_masks_of_even_odds_allow_it(count, least, most):
    game, _, base = asked(count, torch.ones(1, count, dtype=torch.bool), samples=1)
    pools = [draw_pool(game, 2048, seed) for seed in range(8)]
    found = [kernel_shap_from_pool(pool.present, pool.outputs, base) for pool in pools]
    assert least <= sum(values is not None for values in found) <= most


@pytest.mark.parametrize("lacking", ["all", "none"])
def test_shapley_values_need_the_outputs_of_all_parts_and_of_none(lacking):
    masks = every_mask(4)
    masks = masks[1:] if lacking == "none" else masks[:-1]
    _, outputs, base = asked(4, masks)
    assert kernel_shap_from_pool(masks, outputs) is None
    found = kernel_shap_from_pool(masks, outputs, base)
    assert (found is None) == (lacking == "all")


def test_masks_that_come_twice_count_once():
    masks = every_mask(4)
    twice = torch.cat([masks, masks[3:9]])
    game, outputs, _ = asked(4, twice)
    exact = kernel_shap_from_pool(masks, game.outputs(masks))
    np.testing.assert_allclose(kernel_shap_from_pool(twice, outputs), exact, atol=1e-12)
