"""Models, samples and moments that are not as usual."""

import json
import warnings
from typing import NamedTuple

import pytest
import torch
from lightning.pytorch import Callback
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, TensorDataset
from torchmetrics import MeanMetric

from lightning_posttrain import SaliencyMaps
from lightning_posttrain.attribution.layers import find_cam_layer
from lightning_posttrain.attribution.session import gradient_session
from tests import toys
from tests.attribution.problems import problem_of
from tests.saliency.test_callback import explained


class Of(toys.Net):
    """Any network, and no loss in its step."""

    def __init__(self, net):
        super().__init__()
        self.model = net

    def step(self, batch, stage):
        self(batch[0])


def cam_layer(net, x):
    problem = problem_of(net, x)
    with gradient_session(net):
        return find_cam_layer(problem)


class Rows(nn.Module):
    def __init__(self):
        super().__init__()
        self.rows, self.head = nn.LSTM(28, 16, batch_first=True), nn.Linear(16, 4)

    def forward(self, x):
        return self.head(self.rows(x[:, 0])[0].mean(1))


class Latents(nn.Module):
    """Sixteen queries that look at all patches, and lie nowhere."""

    def __init__(self):
        super().__init__()
        self.patches, self.query = nn.Conv2d(1, 16, 4, 4), nn.Parameter(torch.randn(1, 16, 16))
        self.attention = nn.MultiheadAttention(16, 2, batch_first=True)
        self.norm, self.head = nn.LayerNorm(16), nn.Linear(16, 4)

    def forward(self, x):
        patches = self.patches(x).flatten(2).transpose(1, 2)
        return self.head(self.norm(self.attention(self.query.expand(len(x), -1, -1), patches, patches)[0]).mean(1))


class Named(NamedTuple):
    features: torch.Tensor
    other: int


class NamesParts(nn.Module):
    def __init__(self):
        super().__init__()
        self.convolution = Convolution()
        self.head = nn.Linear(6, 4)

    def forward(self, x):
        return self.head(self.convolution(x).features.mean((2, 3)))


class Convolution(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Conv2d(1, 6, 3, padding=1)

    def forward(self, x):
        return Named(self.inner(x).relu(), 3)


def test_a_layer_whose_numbers_are_no_places_is_not_taken():
    torch.manual_seed(0)
    assert cam_layer(Rows(), torch.rand(2, 1, 28, 28)) is None
    assert cam_layer(Latents(), torch.rand(2, 1, 32, 32)) == "patches"
    channels = nn.Sequential(nn.Conv2d(1, 64, 3, 4, 1), nn.ReLU(), nn.Flatten(2), nn.AdaptiveAvgPool1d(1), nn.Flatten())
    assert cam_layer(nn.Sequential(channels, nn.Linear(64, 4)), torch.rand(2, 1, 32, 32)) == "0.1"
    series = nn.Sequential(
        nn.Conv1d(1, 64, 5, 2, 2), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(64, 4)
    )
    assert cam_layer(series, torch.rand(2, 1, 64)) in (None, "1")
    assert cam_layer(NamesParts(), torch.rand(2, 1, 8, 8)) == "convolution"


class TwoTables(toys.Net):
    def __init__(self):
        super().__init__()
        self.first, self.second, self.model = nn.Embedding(9, 5), nn.Embedding(9, 3), nn.Linear(5, toys.CLASSES)

    def of(self, first, second):
        return self.model((first * torch.tanh(second.sum(-1, keepdim=True))).mean(1))

    def forward(self, tokens):
        return self.of(self.first(tokens), self.second(tokens))


def test_tokens_that_are_looked_up_in_two_tables_are_explained_through_both():
    torch.manual_seed(0)
    net, tokens = TwoTables(), torch.randint(9, (16, 6))
    data = TensorDataset(tokens, torch.arange(16) % toys.CLASSES)
    result = explained(net, data, methods=["input_x_gradient"], samples=4)
    ids = result.shown
    rows = [table(ids).detach().requires_grad_() for table in (net.first, net.second)]
    net.of(*rows).amax(1).sum().backward()
    wanted = sum((row.grad * row).sum(-1) for row in rows).detach()
    torch.testing.assert_close(result.maps["input_x_gradient"], wanted)


@pytest.mark.parametrize("inference", [True, False])
def test_a_module_that_changes_its_inputs_changes_no_sample(inference):
    class InPlace(toys.Net):
        def forward(self, x):
            return self.model(x.mul_(2))

        def step(self, batch, stage):
            self(batch[0].clone())

    net, saliency = InPlace(), SaliencyMaps(on_error="raise", faithfulness=False, methods=["saliency"])
    toys.quiet(saliency, inference_mode=inference).validate(net, toys.loader(), verbose=False)
    result = saliency.results["val"]
    x = toys.images().tensors[0][[sample.index for sample in result.samples]]
    with torch.no_grad():
        assert [s.value for s in result.samples] == pytest.approx(net.eval().model(2 * x).amax(1).tolist(), rel=1e-4)


def test_another_predictor_than_the_module_is_not_explained_as_if_it_were_it():
    class Adjusted(toys.Net):
        def step(self, batch, stage):
            with torch.no_grad():
                logits = self(batch[0])
            second = logits.argsort(1)[:, -2:-1]
            near = logits.amax(1, keepdim=True) + 0.03 * (logits.max() - logits.min())
            return {"preds": logits.scatter(1, second, near), "target": batch[1]}

    with pytest.raises(ValueError, match="gives other scores than the step did"):
        explained(Adjusted(), scores_fn=lambda outputs, batch: outputs["preds"])


def test_both_classes_are_followed_over_the_epochs_each_by_itself(tmp_path):
    saliency = SaliencyMaps(explain="both", on_error="raise", faithfulness=False, methods=["saliency"])
    trainer = toys.quiet(saliency, max_epochs=4, default_root_dir=tmp_path)
    trainer.fit(toys.Net(), toys.loader(), toys.loader())
    assert (tmp_path / "posttrain/val/saliency_over_epochs.png").exists()


def test_maps_that_stay_the_same_have_no_drift_whatever_rows_come_and_go():
    class Flips(toys.Net):
        """The same weights in every epoch, and each time another class that wins."""

        def __init__(self):
            super().__init__()
            self.model = nn.Sequential(nn.Flatten(), nn.Linear(64, toys.CLASSES))

        def forward(self, x):
            logits = self.model(x)
            return logits + F.one_hot(torch.tensor(self.current_epoch % 2), toys.CLASSES) * 9

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), 0.0)

    saliency = SaliencyMaps(explain="both", on_error="raise", faithfulness=False, methods=["saliency"])
    drifts = []

    class Spy(Callback):
        def on_validation_end(self, trainer, pl_module):
            if "val" in saliency.results:
                drifts.append(saliency.results["val"].figures.get("saliency/drift"))

    toys.quiet([saliency, Spy()], max_epochs=4).fit(Flips(), toys.loader(), toys.loader())
    assert [drift for drift in drifts if drift is not None] == pytest.approx([0.0] * 3, abs=1e-6)


class Sizes(Dataset):
    """Images whose size changes from batch to batch."""

    def __len__(self):
        return 12

    def __getitem__(self, i):
        side = 8 + 2 * (i // 4)
        return torch.rand(1, side, side, generator=torch.Generator().manual_seed(i)), i % toys.CLASSES


@pytest.mark.parametrize("options", [{}, {"choose": "errors"}, {"samples": [0, 1]}, {"explain": lambda o, x: o[:, 0]}])
def test_samples_of_one_shape_are_taken_where_there_are_several(options):
    net = Of(nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 4)))
    saliency = SaliencyMaps(on_error="raise", faithfulness=False, methods=["saliency"], **options)
    toys.quiet(saliency).validate(net, DataLoader(Sizes(), batch_size=4), verbose=False)
    assert saliency.results["val"].maps["saliency"].shape[1:] == (8, 8)


class Keeps(toys.Net):
    """Keeps things in its forward."""

    def __init__(self):
        super().__init__()
        self.mean, self.seen, self.named = MeanMetric(), [], {"calls": 0}
        self.total = torch.zeros(())

    def forward(self, x):
        self.mean.update(x.mean().detach())
        self.seen.append(len(x))
        self.named["calls"] += 1
        self.total.add_(1)
        return self.model(x)


def test_what_a_forward_keeps_is_as_without():
    kept = []
    for callbacks in ([], [SaliencyMaps(on_error="raise")]):
        torch.manual_seed(0)
        net = Keeps()
        toys.quiet(callbacks).validate(net, toys.loader(), verbose=False)
        kept.append((float(net.mean.weight), float(net.mean.mean_value), net.seen, net.named, float(net.total)))
    assert kept[0] == kept[1]


def test_a_cell_may_be_named_by_the_classes_of_the_dataset():
    class WithClasses(TensorDataset):
        classes = ("cat", "dog", "owl", "fox")

    torch.manual_seed(0)
    net, data = toys.Net(), WithClasses(*toys.images().tensors)
    with torch.no_grad():
        predicted = net.eval()(data.tensors[0]).argmax(1)
    actual = next(int(t) for t, p in zip(data.tensors[1], predicted, strict=True) if t != p)
    cell = (actual, int(predicted[data.tensors[1] == actual][predicted[data.tensors[1] == actual] != actual][0]))
    result = explained(net, data, choose=tuple(data.classes[i] for i in cell), methods=["saliency"])
    assert {(s.actual, s.predicted) for s in result.samples} == {tuple(data.classes[i] for i in cell)}


def test_positions_that_are_ignored_or_not_there_are_said():
    x, y = toys.images().tensors
    y = y.clone()
    y[2] = -1
    with pytest.warns(UserWarning, match=r"at positions \[2, 99\] of val"):
        result = explained(
            Of(toys.Net().model), TensorDataset(x, y), samples=[2, 1, 99], ignore_index=-1, methods=["saliency"]
        )
    assert [sample.index for sample in result.samples] == [1]
    with pytest.raises(ValueError, match="`samples` has -1"):
        SaliencyMaps(samples=[-1])


def test_a_function_of_the_output_is_explained_at_the_positions_that_are_asked_for():
    def first(output, inputs):
        return output[:, 0]

    result = explained(toys.Net(), samples=[9, 3], explain=first, methods=["saliency"])
    assert [sample.index for sample in result.samples] == [9, 3]
    with pytest.raises(ValueError, match="`choose` is 'errors', which needs classes"):
        SaliencyMaps(explain=first, choose="errors")


def test_labels_that_are_not_known_are_not_there_and_no_label_has_no_probability():
    x = toys.images().tensors[0]
    y = torch.zeros(len(x), 3, dtype=torch.int64)
    y[0] = torch.tensor([-1, 1, 0])
    net = Of(toys.Net(classes=3).model)
    nn.init.constant_(net.model[-1].bias, -9.0)
    result = explained(net, TensorDataset(x, y), task="multilabel", ignore_index=-1, samples=[0], methods=["saliency"])
    (sample,) = result.samples
    assert (sample.actual, sample.predicted, sample.probability) == ("1", "no label", None)


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
def test_a_part_in_torchscript_has_no_maps_by_rules():
    net = Of(torch.jit.script(nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, toys.CLASSES))))
    result = explained(net, methods=["saliency", "lrp", "guided_backprop", "deep_lift"])
    assert set(result.maps) == {"saliency"}
    assert all("TorchScript" in reason for reason in result.skipped.values())
    assert result.notes == (
        "LRP γ, Guided backprop, DeepLIFT: a part of the model is in TorchScript, to which no rule applies; "
        "take SmoothGrad",
    )


def test_an_output_without_a_gradient_is_said_in_a_sentence():
    class Frozen(toys.Net):
        def forward(self, x):
            with torch.no_grad():
                return self.model(x)

    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*grad.*")
        result = explained(Frozen(), methods=["saliency", "integrated_gradients", "gradient_shap", "occlusion"])
    assert set(result.maps) == {"occlusion"}
    assert all("no gradient at the inputs" in reason for reason in result.skipped.values())


def test_after_epochs_without_validation_all_at_the_end_is_of_the_last_weights(tmp_path):
    saliency = SaliencyMaps(on_error="raise", methods=["input_x_gradient"], samples=2)
    net = toys.Net()
    trainer = toys.quiet(saliency, max_epochs=3, check_val_every_n_epoch=2, default_root_dir=tmp_path)
    trainer.fit(net, toys.loader(), toys.loader())
    result = saliency.results["val"]
    x = toys.images().tensors[0][[sample.index for sample in result.samples]]
    with torch.no_grad():
        assert [s.value for s in result.samples] == pytest.approx(net.eval()(x).amax(1).tolist(), rel=1e-4)
    record = json.loads((tmp_path / "posttrain/val/saliency.json").read_text())
    assert record["samples"][0]["value"] == pytest.approx(result.samples[0].value)


def test_names_and_words_that_do_not_fit_are_said_with_both_numbers():
    data = TensorDataset(torch.rand(16, 5), torch.arange(16) % toys.CLASSES)
    net = Of(nn.Linear(5, toys.CLASSES))
    with pytest.raises(ValueError, match="`names` has 2 names, and inputs have 5 features"):
        explained(net, data, names=["a", "b"])
    tokens = TensorDataset(torch.full((16, 6), 8), torch.arange(16) % toys.CLASSES)
    with pytest.raises(ValueError, match="`words` has 3 names, and there is token 8"):
        explained(TwoTables(), tokens, words=["a", "b", "c"])


class WithFeatures(toys.Net):
    """Its network gives features and logits; a linear path may lead past the convolutions."""

    def __init__(self, skip):
        super().__init__()
        self.model = Both(skip)

    def step(self, batch, stage):
        F.cross_entropy(self(batch[0])[1], batch[1])


class Both(nn.Module):
    def __init__(self, skip):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 6, 3, padding=1), nn.ReLU())
        self.head, self.past = nn.Linear(6, toys.CLASSES), nn.Linear(64, toys.CLASSES) if skip else None

    def forward(self, x):
        features = self.body(x)
        logits = self.head(features.mean((2, 3)))
        return features, logits if self.past is None else logits + self.past(x.flatten(1))


@pytest.mark.parametrize("more", [["saliency"], []])
@pytest.mark.parametrize("skip", [True, False])
def test_of_features_and_logits_the_layer_is_never_the_whole_network(skip, more):
    saliency = SaliencyMaps(methods=["hirescam", *more], samples=3, faithfulness=False)
    toys.quiet(saliency).validate(WithFeatures(skip), toys.loader(), verbose=False)
    result = saliency.results["val"]
    assert ("hirescam" in result.maps) is not skip
    assert result.layer == (None if skip else "model.body")
    assert "no_grad" not in " ".join(result.notes)
