"""With all methods in every stage, training comes out bit for bit as without, whatever else goes on."""

import contextlib
from collections.abc import Iterator

import pytest
import torch
from torch import nn

from lightning_posttrain import Explanations, SaliencyMaps, Surrogate
from lightning_posttrain.attribution.attribute import METHODS
from lightning_posttrain.attribution.captum_methods import Captum
from tests import nets, toys

try:
    from lightning.pytorch.callbacks import WeightAveraging
except ImportError:  # before Lightning 2.5.3
    WeightAveraging = None


class Net(toys.Net):
    """Dropout, batch normalisation, a recurrent layer and attention on 8 × 8 images."""

    def __init__(self):
        super().__init__()
        self.model = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.Dropout(0.2)
        )
        self.attention = nets.Attention(8, "layer")
        self.recurrent, self.head = nn.GRU(8, 8, batch_first=True), nn.Linear(8, toys.CLASSES)

    def forward(self, x):
        tokens = self.model(x).flatten(2).transpose(1, 2)
        return self.head(self.recurrent(tokens + self.attention(tokens))[0].mean(1))


class Compiled(Net):
    def __init__(self):
        super().__init__()
        self.model = torch.compile(self.model, backend="eager")


SETTINGS = {
    "plain": {},
    "bf16-mixed": {"precision": "bf16-mixed"},
    "bf16-true": {"precision": "bf16-true"},
    "gradient accumulation": {"accumulate_grad_batches": 3},
    "compiled": {},
    "weight averaging": {},
}


def broken(problem):
    problem.module.train()
    torch.rand(5)
    problem.score(problem.inputs.clone().requires_grad_(), problem.all).sum().backward()
    raise KeyError("inside")


def explainer(**options):
    methods = [*METHODS, Captum("LRP"), Captum("GradientShap", {"n_samples": 2}), broken]
    return SaliencyMaps(methods=methods, samples=2, **options)


def perturbing(**options):
    """What asks the model for perturbed inputs, after each epoch."""
    methods = ["lime", "shap", "banzhaf", "rise", "anchors"]
    asked = Explanations(methods=methods, samples=2, perturbations=64, every_n_epochs=1, **options)
    return [asked, Surrogate(repeats=1, every_n_epochs=1, **options)]


def trained(setting, callbacks):
    torch.manual_seed(3)
    torch._dynamo.reset()
    net = Compiled() if setting == "compiled" else Net()
    averaging = [WeightAveraging()] if setting == "weight averaging" else []
    trainer = toys.quiet([*callbacks, *averaging], max_epochs=2, **SETTINGS[setting])
    trainer.fit(net, toys.loader(), toys.loader())
    return net, trainer


def state(net):
    return [value.clone() for value in net.state_dict().values()]


def traces(net) -> Iterator[str]:
    for name, part in net.named_modules():
        yield from (f"{name}.{key}" for key in vars(part) if key != "_trainer")
        hooks = (value for key, value in vars(part).items() if key.endswith("_hooks"))
        yield f"{name} {[len(kind) for kind in hooks if kind is not None]}"


@pytest.mark.filterwarnings("ignore:SaliencyMaps could not work out")
@pytest.mark.filterwarnings("ignore:.*of the attribution")
@pytest.mark.filterwarnings("ignore:SaliencyMaps could not measure")
@pytest.mark.filterwarnings("ignore:SaliencyMaps could not explain")
@pytest.mark.filterwarnings("ignore:(Explanations|Surrogate) could not explain the samples")
@pytest.mark.parametrize("setting", SETTINGS)
def test_weights_buffers_random_numbers_and_modules_are_as_without(setting):
    if setting == "weight averaging" and WeightAveraging is None:
        pytest.skip("this Lightning has no WeightAveraging")
    plain, trainer = trained(setting, [])
    after = torch.get_rng_state()
    saliency = explainer(faithfulness=setting == "plain")
    asked = perturbing()
    net, other = trained(setting, [saliency, *asked])
    assert torch.equal(torch.get_rng_state(), after)
    torch.testing.assert_close(state(net), state(plain), rtol=0, atol=0, equal_nan=True)
    assert sorted(traces(net)) == sorted(traces(plain))
    for run in (trainer, other):
        with contextlib.suppress(AttributeError):
            run.test(run.lightning_module, toys.loader(), verbose=False)
            run.validate(run.lightning_module, toys.loader(), verbose=False)
    torch.testing.assert_close(state(net), state(plain), rtol=0, atol=0, equal_nan=True)
    assert sorted(traces(net)) == sorted(traces(plain))
    found = saliency.results["test"]
    assert {"saliency", "integrated_gradients", "occlusion", "hirescam"} <= set(found.maps) | set(found.skipped)
    assert "broken" in found.skipped
    assert set(asked[0].results["test"].values) == {"lime", "shap", "banzhaf", "rise"}
    assert set(asked[1].results) == {"val", "test"}
