"""Shapley values against ``shap`` and ``captum``: the same where exact, nearer at the same number of coalitions."""

import random
from statistics import median

import numpy as np
import pytest
import torch
from sklearn.datasets import load_breast_cancer
from sklearn.neural_network import MLPClassifier
from torch import nn

from lightning_posttrain.explanations.perturbation.shapley import shapley

pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("ignore")]
shap = pytest.importorskip("shap")
captum_attr = pytest.importorskip("captum.attr")

SEEDS = 5


def random_net(features):
    torch.manual_seed(features)
    net = nn.Sequential(nn.Linear(features, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 3))
    return net.eval().requires_grad_(False), torch.randn(2, features) * 2, torch.randn(8, features)


def cancer(features):
    """A network trained on the first columns of a real table."""
    table = load_breast_cancer()
    rows = (table.data - table.data.mean(0)) / table.data.std(0)
    rows = rows[:, :features].astype(np.float32)
    fitted = MLPClassifier((24, 24), max_iter=300, random_state=0).fit(rows[:400], table.target[:400])
    layers = []
    for weight, bias in zip(fitted.coefs_, fitted.intercepts_, strict=True):
        layer = nn.Linear(*weight.shape)
        layer.weight.data, layer.bias.data = (torch.as_tensor(part, dtype=torch.float32) for part in (weight.T, bias))
        layers += [layer, nn.ReLU()]
    net = nn.Sequential(*layers[:-1]).eval().requires_grad_(False)
    return net, torch.as_tensor(rows[400:402]), torch.as_tensor(rows[:400:50])


SETTINGS = [(random_net, 10), (random_net, 14), (cancer, 10), (cancer, 16)]
settings = pytest.mark.parametrize(("made", "features"), SETTINGS)


def by_kernel_explainer(net, x, background, samples, seed):
    np.random.seed(seed)
    explainer = shap.KernelExplainer(lambda rows: net(torch.as_tensor(rows).float())[:, 0].numpy(), background.numpy())
    return torch.as_tensor(explainer.shap_values(x.numpy(), nsamples=samples, l1_reg=False, silent=True))


def by_captum(net, x, background, samples, seed):
    """Captum knows one baseline: the mean over the background is that of a wrapped function of the mask."""
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)
    found = []
    for row in x:

        def of_mask(masks, row=row):
            mixed = torch.where(masks[:, None] > 0.5, row, background)
            return net(mixed.flatten(0, 1))[:, 0].view(len(masks), -1).mean(1)

        ones = torch.ones(1, x.shape[1])
        found.append(captum_attr.KernelShap(of_mask).attribute(ones, n_samples=samples, perturbations_per_eval=64)[0])
    return torch.stack(found)


def by_us(net, x, background, samples, seed):
    return shapley(net, x, background, target=0, method="kernel", samples=samples, seed=seed).values


def error(found, exact):
    return float((found.double() - exact).norm() / exact.norm())


@settings
def test_exact_values_equal_those_of_shap(made, features):
    net, x, background = made(features)
    found = shapley(net, x, background, target=0, method="exact")
    exact = shap.ExactExplainer(
        lambda rows: net(torch.as_tensor(rows).float())[:, 0].numpy(), shap.maskers.Independent(background.numpy())
    )
    scale = float(found.values.abs().max())
    np.testing.assert_allclose(found.values, exact(x.numpy()).values, atol=1e-6 * max(1, scale))
    if features == 10:
        whole = by_kernel_explainer(net, x, background, 2**features, 0)
        np.testing.assert_allclose(found.values, whole, atol=1e-6 * max(1, scale))


@pytest.mark.parametrize("samples", [200, 1000])
@settings
def test_the_kernel_is_no_further_off_than_those_of_others(made, features, samples):
    net, x, background = made(features)
    exact = shapley(net, x, background, target=0, method="exact").values
    off = {
        by.__name__: median(error(by(net, x, background, samples, seed), exact) for seed in range(SEEDS))
        for by in (by_us, by_kernel_explainer, by_captum)
    }
    assert off["by_us"] <= off["by_kernel_explainer"]
    assert off["by_us"] <= off["by_captum"]
