"""LIME against the ``lime`` package, on that package's own neighbourhoods."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_breast_cancer, load_digits

from lightning_posttrain.explanations.functional.local_linear import local_linear, nearness_of_parts, nearness_of_rows

pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("ignore")]
lime_base = pytest.importorskip("lime.lime_base")
lime_image = pytest.importorskip("lime.lime_image")
lime_tabular = pytest.importorskip("lime.lime_tabular")


def net(features, classes=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    first, second = (torch.randn(shape, generator=generator) / 4 for shape in ((features, 16), (16, classes)))
    return lambda x: ((torch.as_tensor(x, dtype=torch.float32).flatten(1) @ first).tanh() @ second).softmax(1)


@pytest.fixture
def recorded(monkeypatch):
    """Neighbourhoods that ``lime`` drew, and what it made of them."""
    kept = []
    real = lime_base.LimeBase.explain_instance_with_data

    def record(self, data, labels, distances, label, count, **options):
        found = real(self, data, labels, distances, label, count, **options)
        kept.append((data, labels, distances, label, self.kernel_fn(distances), found))
        return found

    monkeypatch.setattr(lime_base.LimeBase, "explain_instance_with_data", record)
    return kept


def compare(data, labels, label, weights, found, count):
    intercept, pairs, score, local = found
    mine = local_linear(torch.tensor(np.asarray(data, float)), torch.tensor(labels[:, [label]]), torch.tensor(weights))
    wanted = np.zeros(count)
    for part, value in pairs:
        wanted[part] = value
    np.testing.assert_allclose(mine.weights[0], wanted, atol=1e-6 * np.abs(wanted).max())
    assert float(mine.intercept[0]) == pytest.approx(intercept, abs=1e-6)
    assert float(mine.fit[0]) == pytest.approx(score, abs=1e-6)
    assert float(mine.intercept[0] + mine.weights[0] @ torch.tensor(data[0]).double()) == pytest.approx(
        float(local[0]), abs=1e-6
    )


@pytest.mark.parametrize("discretize", [True, False])
def test_of_rows(recorded, discretize):
    rows = load_breast_cancer().data
    rows = (rows - rows.mean(0)) / rows.std(0)
    forward = net(30)
    explainer = lime_tabular.LimeTabularExplainer(rows, discretize_continuous=discretize, random_state=0)
    for row in rows[:5]:
        explainer.explain_instance(row, lambda x: forward(x).double().numpy(), num_features=30, num_samples=1000)
    for data, labels, _distances, label, weights, found in recorded:
        compare(data, labels, label, weights, found, 30)
        if discretize:
            same = torch.tensor(data == 1)
            np.testing.assert_allclose(nearness_of_rows(same), weights, rtol=1e-9)


def test_of_images(recorded):
    picture = np.kron(load_digits().images[3] / 16, np.ones((8, 8)))
    picture = np.stack([picture] * 3, -1)
    segments = np.arange(64)[:, None] // 16 * 4 + np.arange(64)[None] // 16
    forward = net(64 * 64 * 3)
    explainer = lime_image.LimeImageExplainer(random_state=0)
    explainer.explain_instance(
        picture, lambda x: forward(x).double().numpy(), num_samples=300, segmentation_fn=lambda _x: segments,
        top_labels=2,
    )  # fmt: skip
    assert len(recorded) == 2
    for data, labels, _distances, label, weights, found in recorded:
        compare(data, labels, label, weights, found, 16)
        np.testing.assert_allclose(nearness_of_parts(torch.tensor(data == 1)), weights, rtol=1e-6)
