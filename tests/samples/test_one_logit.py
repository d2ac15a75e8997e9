"""What is explained of a network with one logit for two classes is that logit, for class 0 minus it."""

import pytest
import torch
from lightning.pytorch import LightningModule
from sklearn.metrics import f1_score
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from lightning_posttrain import Calibration, DecisionThresholds, Explanations, SaliencyMaps
from tests import toys


class OneLogit(LightningModule):
    """A network with one output, heard in its loss; ``shape`` is that of its output behind the rows."""

    def __init__(self, model, shape=()):
        super().__init__()
        self.model, self.shape = model, shape

    def forward(self, x):
        return self.model(x).reshape(len(x), *self.shape)

    def validation_step(self, batch, batch_idx):
        logits = self(batch[0])
        self.log("val/loss", F.binary_cross_entropy_with_logits(logits, batch[1].float().view_as(logits)))


@torch.no_grad()
def convolutional(inputs):
    """Predicts either class for about half of the inputs."""
    model = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(256, 1))
    model[-1].bias -= model(inputs).median()
    return model


def validated(module, data, *callbacks):
    toys.quiet(list(callbacks)).validate(module, DataLoader(data, batch_size=8), verbose=False)
    return [callback.results["val"] for callback in callbacks]


def sides(samples):
    """1 where class 1 is explained, -1 where class 0 is."""
    return torch.tensor([1.0 if sample.explained.startswith("1") else -1.0 for sample in samples])


@pytest.mark.parametrize("shape", [(), (1,)])
@pytest.mark.parametrize("how", ["predicted", "true", "both", "contrast"])
def test_maps_and_values_are_those_of_the_networks_own_logit(how, shape):
    data = toys.images(rows=24, classes=2)
    module = OneLogit(convolutional(data.tensors[0]), shape)
    maps = SaliencyMaps(
        methods=["input_x_gradient", "hirescam"], samples=8, explain=how, layer="model.1", faithfulness=False
    )
    (result,) = validated(module, data, maps)
    inputs = torch.stack([data.tensors[0][sample.index] for sample in result.samples]).requires_grad_()
    logits = module(inputs).reshape(-1)
    (slope,) = torch.autograd.grad(logits.sum(), inputs)
    sign = sides(result.samples)
    assert {1.0, -1.0} == set(sign.tolist())
    expected = (inputs * slope).detach()[:, 0] * sign[:, None, None]
    torch.testing.assert_close(result.maps["input_x_gradient"], expected)
    torch.testing.assert_close(torch.tensor([sample.value for sample in result.samples]), (sign * logits).detach())
    hidden = module.model[1](module.model[0](inputs)).detach().requires_grad_()
    (weight,) = torch.autograd.grad(module.model[2:](hidden).sum(), hidden)
    cam = ((hidden * weight).sum(1) * sign[:, None, None]).detach()
    torch.testing.assert_close(result.maps["hirescam"], cam)


def rows(count=60):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(count, 4, generator=generator)
    return TensorDataset(x, (x[:, 0] + x[:, 3] > 0).long())


@pytest.mark.parametrize("explain", ["predicted", "contrast"])
def test_shapley_values_of_a_linear_logit_are_its_terms_and_add_up_to_it(explain):
    data, linear = rows(), nn.Linear(4, 1)
    module = OneLogit(linear)
    explanations = Explanations(output="logit", methods=["shap"], samples=6, explain=explain, background=60)
    (result,) = validated(module, data, explanations)
    samples = result.saliency.samples
    sign = sides(samples).double()
    assert {1.0, -1.0} == set(sign.tolist())
    x = data.tensors[0].double()
    weight, bias = linear.weight.detach().double()[0], linear.bias.detach().double()
    own = torch.stack([x[sample.index] for sample in samples])
    terms = weight * (own - x.mean(0)) * sign[:, None]
    torch.testing.assert_close(result.shap.values.double(), terms, atol=1e-5, rtol=1e-5)
    logits = (own @ weight + bias) * sign
    values = torch.tensor([sample.value for sample in samples]).double()
    torch.testing.assert_close(values, logits, atol=1e-5, rtol=1e-5)
    chance = torch.tensor([sample.probability for sample in samples]).double()
    torch.testing.assert_close(chance, logits.sigmoid(), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(result.shap.base.double() + terms.sum(1), values, atol=1e-5, rtol=1e-5)


def test_the_importance_of_columns_is_of_the_logit_too():
    data, linear = rows(), nn.Linear(4, 1)
    explanations = Explanations(output="logit", methods=["shap"], samples=2, background=60, important=40)
    (result,) = validated(OneLogit(linear), data, explanations)
    values, weight = result.importance.values, linear.weight.detach()[0]
    shown = torch.as_tensor(result.importance.shown)
    for side, of_class in zip((-1, 1), values, strict=True):
        apart = side * weight * (shown - shown[:1])
        torch.testing.assert_close(of_class - of_class[:1], apart, atol=1e-5, rtol=1e-4)


def test_probabilities_are_the_sigmoid_of_the_logit_as_before():
    data, linear = rows(), nn.Linear(4, 1)
    module = OneLogit(linear)
    (result,) = validated(module, data, Explanations(methods=["shap"], samples=6))
    samples = result.saliency.samples
    with torch.no_grad():
        logits = torch.stack([module(data.tensors[0][sample.index][None])[0] for sample in samples])
    values = torch.tensor([sample.value for sample in samples])
    torch.testing.assert_close(values, (logits * sides(samples)).sigmoid())


def test_of_two_logits_each_class_has_its_own():
    class Two(OneLogit):
        def forward(self, x):
            return torch.cat([-self.model(x), self.model(x)], 1)

        def validation_step(self, batch, batch_idx):
            self.log("val/loss", F.cross_entropy(self(batch[0]), batch[1]))

    data, module = rows(), Two(nn.Linear(4, 1))
    maps = SaliencyMaps(methods=["input_x_gradient"], samples=6, task="binary", faithfulness=False)
    (result,) = validated(module, data, maps)
    with torch.no_grad():
        x = torch.stack([data.tensors[0][sample.index] for sample in result.samples])
        expected = module.model(x)[:, 0] * sides(result.samples)
    torch.testing.assert_close(torch.tensor([sample.value for sample in result.samples]), expected)


def test_temperature_and_thresholds_are_those_of_the_logit():
    generator = torch.Generator().manual_seed(0)
    z = 3 * torch.randn(800, generator=generator)
    target = (torch.rand(800, generator=generator) < (z / 3).sigmoid()).long()
    calibration, thresholds = Calibration(), DecisionThresholds()
    module = OneLogit(nn.Identity())
    fitted, chosen = validated(module, TensorDataset(z, target), calibration, thresholds)
    found = fitted.parameters["temperature"]
    scale = torch.linspace(1, 8, 701, dtype=torch.float64)
    loss = F.binary_cross_entropy_with_logits(
        z.double() / scale[:, None], target.double().expand(701, -1), reduction="none"
    )
    assert found == pytest.approx(float(scale[loss.mean(1).argmin()]), abs=0.02)
    torch.testing.assert_close(calibration.calibrator(z), z / found)
    assert chosen.default.value == pytest.approx(f1_score(target, z >= 0))
    assert chosen.default.value < f1_score(target, z.sigmoid() >= thresholds.thresholds)
