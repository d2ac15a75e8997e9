"""With all methods in every stage, training comes out bit for bit as without, whatever else goes on."""

import contextlib
import random
from collections.abc import Iterator
from functools import partial

import numpy as np
import pytest
import torch
from lightning.pytorch import seed_everything
from torch import nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score

from lightning_posttrain import ClassificationMetrics, ConfusionMatrix, Explanations, SaliencyMaps, Surrogate
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
QUICK = ("plain", "compiled")


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
@pytest.mark.parametrize(
    "setting", [pytest.param(one, marks=[] if one in QUICK else [pytest.mark.slow]) for one in SETTINGS]
)
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


class Step(Net):
    """Keeps the losses of each of its steps, also of those of the sanity check."""

    def __init__(self):
        super().__init__()
        self.__dict__["losses"] = []

    def loss(self, batch):
        return F.cross_entropy(self(batch[0]), batch[1])

    def training_step(self, batch, batch_idx):
        loss = self.loss(batch)
        self.losses.append(loss.detach().clone())
        self.log("loss", loss)
        return loss

    def validation_step(self, batch, batch_idx):
        self.training_step(batch, batch_idx)

    def test_step(self, batch, batch_idx):
        self.training_step(batch, batch_idx)


class FunctionalHead(Step):
    """It is listened to in each step."""

    def forward(self, x):
        tokens = self.model(x).flatten(2).transpose(1, 2)
        return F.linear(self.recurrent(tokens)[0].mean(1), self.head.weight, self.head.bias)


class Metrics(Step):
    def __init__(self):
        super().__init__()
        self.accuracy = MulticlassAccuracy(toys.CLASSES)
        self.more = MetricCollection({"f1": MulticlassF1Score(toys.CLASSES)})

    def loss(self, batch):
        logits = self(batch[0])
        self.accuracy(logits, batch[1])
        self.more.update(logits.softmax(1), batch[1])
        self.log("accuracy", self.accuracy)
        return F.cross_entropy(logits, batch[1])


class TwoHeads(Step):
    def __init__(self):
        super().__init__()
        self.other = nn.Linear(toys.CLASSES, 2)

    def loss(self, batch):
        x, y, z = batch
        logits = self(x)
        return F.cross_entropy(logits, y) + F.cross_entropy(self.other(logits), z)


class LossInside(Step):
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.head = nn.Sequential(nn.Flatten(), nn.Dropout(0.3)), nn.Linear(64, toys.CLASSES)

        def forward(self, x, labels):
            logits = self.head(self.body(x))
            return {"loss": F.cross_entropy(logits, labels), "logits": logits}

    def __init__(self):
        super().__init__()
        self.inner = self.Model()

    def loss(self, batch):
        return self.inner(*batch)["loss"]


class Transformer(Step):
    """Takes the fast path in evaluation: as an encoder, as a layer, or as attention alone."""

    def __init__(self, form):
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        forms = {"encoder": lambda: nn.TransformerEncoder(layer, 2), "layer": lambda: layer}
        self.encoder = forms.get(form, lambda: nn.MultiheadAttention(8, 2, 0.1, batch_first=True))()

    def forward(self, x):
        x, pad = x[:, 0], torch.zeros(len(x), 8, dtype=torch.bool)
        pad[::2, 5:] = True
        if isinstance(self.encoder, nn.MultiheadAttention):
            return self.head(self.encoder(x, x, x, key_padding_mask=pad)[0][:, :5].mean(1))
        return self.head(self.encoder(x, src_key_padding_mask=pad)[:, :5].mean(1))


STEPS = {
    "plain": Step,
    "functional head": FunctionalHead,
    "metrics": Metrics,
    "two heads": TwoHeads,
    "loss inside": LossInside,
    "encoder": partial(Transformer, "encoder"),
    "encoder layer": partial(Transformer, "layer"),
    "attention": partial(Transformer, "attention"),
}


def kept(value):
    """Tensors and numbers in what an optimiser or a Trainer holds, in order."""
    if isinstance(value, dict):
        return [one for part in value.values() for one in kept(part)]
    if isinstance(value, (list, tuple)):
        return [one for part in value for one in kept(part)]
    return [torch.as_tensor(value).clone()] if isinstance(value, (torch.Tensor, float, int)) else []


def listened(make, callbacks):
    """All that a fit and a test leave behind."""
    seed_everything(3)
    pictures, target = toys.images().tensors
    two = [target % 2] if make is TwoHeads else []
    data = toys.loader(TensorDataset(pictures, target, *two), shuffle=True)
    still = toys.loader(TensorDataset(pictures, target, *two))
    net, trainer = make(), toys.quiet(callbacks, max_epochs=2)
    trainer.fit(net, data, still)
    fitted, logged = [*state(net), *kept(trainer.optimizers[0].state_dict())], dict(trainer.logged_metrics)
    trainer.test(net, still, verbose=False)
    logged |= {f"test/{name}": value for name, value in trainer.logged_metrics.items()}
    metrics = [*fitted, *net.losses, torch.get_rng_state()]
    return metrics, logged, random.getstate(), repr(np.random.get_state()), sorted(traces(net))


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize("step", STEPS)
def test_a_step_that_is_listened_to_gives_the_same_losses_weights_and_random_numbers(step):
    plain, logged, *others = listened(STEPS[step], [])
    stages = ["train", "val", "test"]
    ours = [ClassificationMetrics(stages=stages, resamples=0), ConfusionMatrix(stages=stages)]
    heard, also, *after = listened(STEPS[step], ours)
    assert len(plain) == len(heard)
    assert all(torch.equal(a, b) for a, b in zip(plain, heard, strict=True))
    assert all(torch.equal(value, also[name]) for name, value in logged.items())
    assert others == after
