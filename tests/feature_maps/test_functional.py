import numpy as np
import pytest
import torch
from scipy.stats import entropy
from sklearn.decomposition import PCA

from lightning_posttrain.feature_maps.followed import FollowedStage
from lightning_posttrain.feature_maps.functional import (
    Moments,
    aligned,
    as_colors,
    border_ratio,
    dead_share,
    effective_rank,
    energy,
    in_their_places,
    principal_scores,
    spectrum,
    varying,
)

GRIDS = pytest.mark.parametrize("grid", [(5, 7), (12,)], ids=str)


def maps(grid=(5, 7), rows=6, channels=9, seed=0):
    """Correlated channels with means, and one that is dead."""
    generator = torch.Generator().manual_seed(seed)
    mixed = torch.einsum(
        "nc...,cd->nd...",
        torch.randn(rows, channels, *grid, generator=generator),
        torch.randn(channels, channels, generator=generator),
    )
    found = mixed + torch.arange(channels).view(1, -1, *[1] * len(grid))
    found[:, 3] = 0
    return found


def rows_of(values):
    """Positions of all samples as rows, channels as columns."""
    array = values.double().numpy()
    return np.moveaxis(array, 1, -1).reshape(-1, array.shape[1])


@GRIDS
def test_energy_is_the_root_mean_square_over_channels(grid):
    values = maps(grid)
    slow = np.sqrt(np.mean(values.double().numpy() ** 2, axis=1))
    np.testing.assert_allclose(energy(values), slow, rtol=1e-6)


@GRIDS
@pytest.mark.parametrize("cut", [1, 3, 5])
def test_moments_of_two_parts_add_up_to_those_of_the_whole(grid, cut):
    values = maps(grid)
    whole, parts = Moments.of(values), Moments.of(values[:cut]) + Moments.of(values[cut:])
    assert (whole.rows, whole.least) == (parts.rows, parts.least)
    assert torch.equal(whole.alive, parts.alive)
    for name in ("products", "sums", "squares", "covariance"):
        torch.testing.assert_close(getattr(whole, name), getattr(parts, name), rtol=1e-12, atol=1e-12)


@GRIDS
def test_the_covariance_is_that_of_numpy(grid):
    values = maps(grid)
    np.testing.assert_allclose(Moments.of(values).covariance, np.cov(rows_of(values).T, bias=True), atol=1e-11)


@GRIDS
def test_the_effective_rank_is_the_exponential_of_the_entropy_of_eigenvalues(grid):
    values = maps(grid)
    eigenvalues = np.linalg.svd(np.cov(rows_of(values).T), compute_uv=False)
    found, _ = spectrum(Moments.of(values).covariance)
    assert effective_rank(found) == pytest.approx(np.exp(entropy(eigenvalues)), rel=1e-9)


def test_the_effective_rank_counts_directions_that_vary_alike():
    generator = torch.Generator().manual_seed(0)
    two = torch.linalg.qr(torch.randn(500, 2, dtype=torch.float64, generator=generator))[0]
    two = (two - two.mean(0)) @ torch.linalg.qr(torch.randn(6, 6, dtype=torch.float64, generator=generator))[0][:2]
    values, _ = spectrum(Moments.of(two.T[None]).covariance)
    assert effective_rank(values) == pytest.approx(2, abs=0.02)
    assert effective_rank(torch.zeros(4)) == 0


@GRIDS
def test_components_are_those_of_scikit_learn_up_to_their_signs(grid):
    values = maps(grid)
    moments, theirs = Moments.of(values), PCA(3).fit(rows_of(values))
    eigenvalues, vectors = spectrum(moments.covariance)
    mean = torch.tensor(theirs.mean_)
    scores = principal_scores(values, mean, vectors[:, :3]).reshape(-1, 3).numpy()
    wanted = theirs.transform(rows_of(values))
    signs = np.sign((scores * wanted).sum(0))
    np.testing.assert_allclose(scores * signs, wanted, atol=1e-6)
    np.testing.assert_allclose((eigenvalues / eigenvalues.sum())[:3], theirs.explained_variance_ratio_, atol=1e-9)
    stage = FollowedStage("layer", "Conv2d").maps(moments, values)
    np.testing.assert_allclose(stage.explained, theirs.explained_variance_ratio_, atol=1e-9)


@GRIDS
def test_channels_that_vary_most_over_samples_are_found_as_numpy_finds_them(grid):
    values = maps(grid)
    values[:, 5] += 100 * torch.rand(grid)  # varies over positions alone
    spread = values.double().numpy().var(axis=0).reshape(9, -1).mean(1)
    assert varying(Moments.of(values), 4) == np.argsort(-spread, kind="stable")[:4].tolist()
    assert varying(Moments.of(values), 20) == np.argsort(-spread, kind="stable").tolist()


def test_of_one_sample_those_that_vary_most_over_its_positions_are_found():
    values = maps(rows=1)
    spread = values[0].double().numpy().reshape(9, -1).var(axis=1)
    assert varying(Moments.of(values), 3) == np.argsort(-spread)[:3].tolist()


def test_a_channel_is_dead_where_no_sample_moves_it():
    values = maps()
    assert dead_share(Moments.of(values)) == pytest.approx(1 / 9)
    values[2, 3, 1, 1] = 1e-20
    assert dead_share(Moments.of(values)) == 0
    assert dead_share(Moments.of(torch.zeros(2, 4, 3, 3))) == 1


@pytest.mark.parametrize("grid", [(5, 7), (3, 3), (2, 6), (1, 4), (12,), (2,)], ids=str)
def test_the_border_is_the_outermost_ring_against_its_share_of_the_area(grid):
    values = maps(grid).double().numpy()
    power = (values**2).sum((0, 1))
    edge = [any(i in (0, n - 1) for i, n in zip(at, grid, strict=True)) for at in np.ndindex(*grid)]
    share = power.ravel()[edge].sum() / power.sum()
    assert border_ratio(Moments.of(torch.tensor(values))) == pytest.approx(share / np.mean(edge))


def test_no_energy_has_no_border():
    assert np.isnan(border_ratio(Moments.of(torch.zeros(2, 3, 4, 4))))


def test_channels_that_stay_keep_their_places():
    assert in_their_places([3, 1, 2], []) == [3, 1, 2]
    assert in_their_places([9, 2, 3, 8], [1, 2, 3, 4]) == [9, 2, 3, 8]
    assert in_their_places([4, 8, 1], [1, 2, 4]) == [1, 8, 4]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 0, 2)])
def test_components_that_changed_places_and_signs_are_put_back(order):
    before = torch.randn(3, 4, 5, 3, dtype=torch.float64)
    signs = torch.tensor([1.0, -1.0, -1.0])
    now = (before * signs)[..., list(order)] + 0.05 * torch.randn(3, 4, 5, 3)
    found, turned = aligned(now, before)
    assert ((now[..., found] * turned - before).abs() < 0.5).all()
    assert [order[place] for place in found] == [0, 1, 2]


def test_colours_do_not_flip_between_epochs():
    values, followed = maps(rows=8), FollowedStage("layer", "Conv2d")
    first = followed.maps(Moments.of(values), values[:3])
    for epoch in range(1, 6):
        later = values + 0.02 * torch.randn(values.shape, generator=torch.Generator().manual_seed(epoch))
        stage = followed.maps(Moments.of(later), later[:3])
        assert float((stage.colors - first.colors).abs().mean()) < 0.05
        assert set(stage.channels) == set(varying(Moments.of(later), 8))


@pytest.mark.parametrize("components", [1, 2, 3])
def test_colours_lie_in_0_to_1_whatever_the_number_of_channels(components):
    colors = as_colors(torch.randn(2, 4, 4, components).double())
    assert colors.shape == (2, 4, 4, 3)
    assert colors.dtype == torch.float32
    assert 0 <= float(colors.min()) < float(colors.max()) <= 1
    grey = (colors[..., :1] == colors).all()
    assert bool(grey) == (components == 1)
    assert (as_colors(torch.zeros(2, 4, components)) == 0.5).all()


def test_what_is_not_finite_is_drawn_as_0_and_has_no_rank():
    values = maps()
    values[0, 0, 0, 0] = float("nan")
    stage = FollowedStage("layer", "Conv2d").maps(Moments.of(values), values[:2])
    assert np.isnan(stage.effective_rank)
    assert stage.energy.isfinite().all()
    assert stage.maps.isfinite().all()
    assert (stage.colors == 0.5).all()
