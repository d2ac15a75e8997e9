import math
from functools import reduce
from operator import add

import numpy as np
import pytest
import torch
from scipy.stats import entropy
from sklearn.metrics import matthews_corrcoef

from lightning_posttrain.ensembles import DiversitySums, diversity, entropy_parts
from tests.ensembles.drawn import drawn


def test_entropy_is_that_of_scipy_and_its_parts_sum():
    logp, _ = drawn(300, 5, 4)
    chance = logp.exp().numpy()
    parts = entropy_parts(logp)
    mean = chance.mean(1)
    assert np.allclose(parts.total, entropy(mean, axis=1))
    assert np.allclose(parts.members, entropy(chance, axis=2).mean(1))
    assert np.allclose(parts.information, entropy(chance, mean[:, None], axis=2).mean(1))
    assert torch.allclose(parts.total, parts.members + parts.information, atol=1e-12)


def test_entropy_of_weighted_members_has_parts_that_sum():
    logp, _ = drawn(300, 3, 4)
    weights = torch.tensor([0.7, 0.0, 0.3])
    parts = entropy_parts(logp, weights)
    assert torch.allclose(parts.total, parts.members + parts.information, atol=1e-7)
    assert torch.allclose(parts.total, entropy_parts(logp[:, [0, 2]], weights[[0, 2]]).total)


def test_members_that_are_alike_have_no_information():
    logp, _ = drawn(50, 1, 4)
    assert float(entropy_parts(logp.expand(50, 3, 4)).information.max()) < 1e-12


def test_disagreement_and_error_correlation_are_those_of_scikit_learn():
    logp, target = drawn(400, 4, 3)
    found = diversity(logp, target)
    predicted = logp.argmax(2).numpy()
    wrong = predicted != target.numpy()[:, None]
    for one in range(4):
        for other in range(4):
            assert float(found.disagreement[one, other]) == pytest.approx(
                (predicted[:, one] != predicted[:, other]).mean()
            )
            expected = matthews_corrcoef(wrong[:, one], wrong[:, other])
            assert float(found.error_correlation[one, other]) == pytest.approx(expected)
    pairs = np.triu_indices(4, 1)
    assert found.mean_disagreement == pytest.approx(found.disagreement.numpy()[pairs].mean())
    assert found.mean_error_correlation == pytest.approx(found.error_correlation.numpy()[pairs].mean())
    assert found.entropy == pytest.approx(found.own + found.information)


def test_sums_of_batches_are_those_of_all_rows():
    logp, target = drawn(301, 3, 4)
    whole = diversity(logp, target)
    parts = reduce(add, [DiversitySums.of(logp[i : i + 50], target[i : i + 50]) for i in range(0, 350, 50)]).diversity()
    assert torch.equal(parts.disagreement, whole.disagreement)
    assert torch.equal(parts.error_correlation, whole.error_correlation)
    assert parts.information == pytest.approx(whole.information)
    assert parts.rows == 301


def test_members_that_never_err_have_no_correlation_and_no_rows_no_figures():
    logp = torch.tensor([[0.9, 0.1]]).log().expand(20, 2, 2)
    found = diversity(logp, torch.zeros(20, dtype=torch.long))
    assert math.isnan(found.mean_error_correlation)
    assert found.mean_disagreement == 0
    empty = diversity(logp[:0], torch.zeros(0, dtype=torch.long))
    assert math.isnan(empty.entropy)
    assert empty.rows == 0
    assert math.isnan(diversity(logp[:, :1], torch.zeros(20, dtype=torch.long)).mean_disagreement)
