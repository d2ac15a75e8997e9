"""The weighted ridge that LIME fits, against scikit-learn's, and its standard errors against many draws."""

import math

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from lightning_posttrain.explanations.functional.local_linear import local_linear, nearness_of_parts, nearness_of_rows


def drawn(seed, n=400, count=9, outputs=2):
    generator = torch.Generator().manual_seed(seed)
    present = torch.rand(n, count, generator=generator) < 0.5
    present[0] = True
    truth = torch.arange(count * outputs).view(outputs, count) % 5 - 2.0
    noise = torch.rand(n, outputs, generator=generator)
    product = (present[:, :1] & present[:, 1:2]).float()
    return present, present.float() @ truth.T + product + noise


@pytest.mark.parametrize("ridge", [0.0, 1.0, 30.0])
def test_it_is_scikit_learns_ridge_with_sample_weights(ridge):
    present, outputs = drawn(0)
    nearness = nearness_of_parts(present)
    found = local_linear(present.float(), outputs, nearness, ridge=ridge)
    for q in range(2):
        model = Ridge(alpha=ridge).fit(present.numpy(), outputs[:, q].double().numpy(), sample_weight=nearness.numpy())
        np.testing.assert_allclose(found.weights[q], model.coef_, rtol=1e-9)
        assert found.intercept[q] == pytest.approx(model.intercept_, rel=1e-9)
        score = model.score(present.numpy(), outputs[:, q].numpy(), sample_weight=nearness.numpy())
        assert found.fit[q] == pytest.approx(score, abs=1e-9)


def test_features_that_are_kept_are_those_that_matter_most_in_the_sample_and_are_fitted_again():
    present, outputs = drawn(1)
    nearness = nearness_of_parts(present)
    found = local_linear(present.float(), outputs, nearness, keep=3)
    for q in range(2):
        y = outputs[:, q].double().numpy()
        first = Ridge(alpha=0.01).fit(present.numpy(), y, sample_weight=nearness.numpy())
        top = np.argsort(-np.abs(first.coef_))[:3]
        assert set(found.weights[q].nonzero().flatten().tolist()) == set(top.tolist())
        again = Ridge(alpha=1.0).fit(present.numpy()[:, top], y, sample_weight=nearness.numpy())
        np.testing.assert_allclose(found.weights[q][top.copy()], again.coef_, rtol=1e-9)


def test_standard_errors_are_the_deviation_over_many_draws():
    found = [local_linear(*pair, nearness_of_parts(pair[0])) for pair in (drawn(seed) for seed in range(200))]
    real = torch.stack([one.weights for one in found]).std(0)
    said = torch.stack([one.errors for one in found]).mean(0)
    assert float((said / real).mean()) == pytest.approx(1, abs=0.1)
    assert float((said / real).min()) > 0.75
    pairs = zip(found[::2], found[1::2], strict=True)
    apart = torch.stack([(a.weights - b.weights).norm(dim=1) / a.weights.norm(dim=1) for a, b in pairs])
    assert torch.allclose(torch.stack([one.spread for one in found]).mean(0), apart.mean(0), rtol=0.15)


def test_a_constant_output_has_no_weights_and_no_fit_and_a_constant_feature_no_weight():
    present, outputs = drawn(2)
    present[:, 4] = True
    found = local_linear(present.float(), torch.ones_like(outputs), nearness_of_parts(present))
    assert found.weights.abs().max() < 1e-9
    assert found.fit.isnan().all()
    assert found.spread.max() < 1e-9 or not found.spread.any()
    assert local_linear(present.float(), outputs, nearness_of_parts(present)).weights[:, 4].abs().max() < 1e-9


def test_nearness_is_the_lime_packages_kernel():
    present = torch.tensor([[1, 1, 1, 1], [1, 0, 0, 1], [0, 0, 0, 0]], dtype=torch.bool)
    ones = torch.ones(4, dtype=torch.float64)
    cosine = [1 - float(row.double() @ ones) / (2 * max(float(row.double().norm()), 1e-12)) for row in present]
    wanted = [math.sqrt(math.exp(-(d**2) / 0.25**2)) for d in cosine]
    assert nearness_of_parts(present).tolist() == pytest.approx(wanted)
    width = 0.75 * math.sqrt(4)
    wanted = [math.sqrt(math.exp(-(math.sqrt(off) ** 2) / width**2)) for off in (0, 2, 4)]
    assert nearness_of_rows(present).tolist() == pytest.approx(wanted)
