import pytest
import torch
from lightning.pytorch import LightningModule
from torch import nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from lightning_posttrain import ClassificationMetrics, SaliencyMaps
from lightning_posttrain.attribution.attribute import METHODS
from lightning_posttrain.attribution.captum_methods import Captum
from lightning_posttrain.attribution.path_methods import IntegratedGradients
from tests import toys

USUAL = {"saliency", "input_x_gradient", "integrated_gradients", "hirescam"}


class Watching(toys.Net):
    def step(self, batch, stage):
        self(batch[0])


def explained(net, data=None, **options):
    saliency = SaliencyMaps(on_error="raise", faithfulness=False, **options)
    toys.quiet(saliency).validate(net, toys.loader(data), verbose=False)
    return saliency.results["val"]


def positions(result):
    return [sample.index for sample in result.samples]


def test_what_is_said_of_a_sample_is_what_the_model_says_of_that_row_of_the_dataset():
    net, data = toys.Net(), toys.images()
    result = explained(net, data, samples=6, class_names=["a", "b", "c", "d"])
    x, y = data.tensors
    index = torch.tensor(positions(result))
    with torch.no_grad():
        logits = net.eval()(x[index])
    probability, predicted = logits.softmax(1).max(1)
    assert [sample.actual for sample in result.samples] == ["abcd"[i] for i in y[index]]
    assert [sample.predicted for sample in result.samples] == ["abcd"[i] for i in predicted]
    assert [sample.probability for sample in result.samples] == pytest.approx(probability.tolist())
    assert [sample.value for sample in result.samples] == pytest.approx(logits.amax(1).tolist())
    torch.testing.assert_close(result.maps["input_x_gradient"], _input_x_gradient(net, x[index], predicted))


def _input_x_gradient(net, x, target):
    x = x.clone().requires_grad_()
    net(x).gather(1, target[:, None]).sum().backward()
    return (x * x.grad).detach().sum(1)


@pytest.mark.parametrize("explain", ["true", "both", "contrast"])
def test_other_classes_can_be_explained(explain):
    net, data = toys.Net(), toys.images()
    result = explained(net, data, samples=6, explain=explain, methods=["input_x_gradient"])
    maps = result.maps["input_x_gradient"]
    for row, sample in enumerate(result.samples):
        x, y = (part[sample.index] for part in data.tensors)
        leaf = x[None].clone().requires_grad_()
        logits = net.eval()(leaf)[0]
        best, second = logits.topk(2).indices.tolist()
        if explain == "contrast":
            rival = int(y) if int(y) != best else second
            value, said = logits[best] - logits[rival], f"{best} rather than {rival}"
        else:
            value, said = logits[int(sample.explained)], sample.explained
        assert sample.explained == said
        (gradient,) = torch.autograd.grad(value, leaf)
        torch.testing.assert_close(maps[row], (leaf * gradient).detach()[0].sum(0))
    if explain == "true":
        assert all(sample.explained == sample.actual for sample in result.samples)
    if explain == "both":
        wrong = sum(sample.explained != sample.predicted for sample in result.samples)
        assert len(result.samples) == 6 + wrong
        assert wrong > 0


class Coder(LightningModule):
    """An autoencoder, with a batch that is a tensor or its only part."""

    def __init__(self):
        super().__init__()
        self.code = nn.Sequential(nn.Flatten(), nn.Linear(64, 3), nn.Linear(3, 64))

    def forward(self, x):
        return self.code(x).view_as(x)

    def validation_step(self, batch, batch_idx):
        x = batch if isinstance(batch, torch.Tensor) else batch[0]
        self.log("val/loss", F.mse_loss(self(x), x))


@pytest.mark.parametrize("wrapped", [True, False])
def test_any_function_of_the_output_can_be_explained_without_a_class(wrapped):
    def reconstruction_error(output, inputs):
        return ((output - inputs) ** 2).flatten(1).mean(1)

    net, (x, _) = Coder(), toys.images().tensors
    loader = toys.loader(TensorDataset(x) if wrapped else x)
    saliency = SaliencyMaps(explain=reconstruction_error, samples=3, on_error="raise")
    toys.quiet(saliency).validate(net, loader, verbose=False)
    result = saliency.results["val"]
    assert [sample.explained for sample in result.samples] == ["reconstruction error"] * 3
    with torch.no_grad():
        expected = reconstruction_error(net(x[:3]), x[:3])
    assert [sample.value for sample in result.samples] == pytest.approx(expected.tolist())
    assert result.gaps["integrated_gradients"] == pytest.approx([0, 0, 0], abs=1e-4)
    assert result.faithfulness.rows["integrated_gradients"]["insertion"] > 0


def test_a_class_of_a_mask_is_explained_by_its_sum():
    class Masks(Watching):
        def __init__(self):
            super().__init__()
            self.model = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 2, 1))

    result = explained(Masks(), explain=lambda output, inputs: output[:, 1].sum((1, 2)))
    assert set(result.maps) == USUAL
    assert result.samples[0].explained == "output"


def test_a_function_that_gives_no_number_a_row_is_refused():
    with pytest.raises(ValueError, match=r"`explain` gives \(8, 4\) for 8 rows, wanted one number a row"):
        explained(toys.Net(), explain=lambda output, inputs: output)


def test_several_labels_are_explained_by_the_most_likely_one():
    labels = (torch.rand(37, 4) > 0.5).long()
    result = explained(Watching(), TensorDataset(toys.images().tensors[0], labels), task="multilabel", samples=4)
    assert set(result.maps) == USUAL
    there = [", ".join(str(i) for i in range(4) if labels[s.index, i]) or "no label" for s in result.samples]
    assert [sample.actual for sample in result.samples] == there


class Rows(Watching):
    def __init__(self):
        super().__init__()
        self.model = nn.Sequential(nn.Linear(9, 16), nn.ReLU(), nn.Linear(16, toys.CLASSES))


class Series(Watching):
    def __init__(self):
        super().__init__()
        self.model = nn.Sequential(
            nn.Conv1d(2, 6, 5, padding=2), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(6, toys.CLASSES)
        )


class Words(Watching):
    def __init__(self, form="attention"):
        super().__init__()
        self.table = nn.EmbeddingBag(20, 8) if form == "bag" else nn.Embedding(20, 8)
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True) if form == "attention" else nn.Identity()
        self.model, self.form = nn.Linear(8, toys.CLASSES), form

    def forward(self, ids):
        vectors = self.layer(self.table(ids))
        return self.model(vectors if self.form == "bag" else vectors.mean(1))


TARGETS = torch.arange(20) % 4
KINDS = {
    "tabular": (Rows, torch.randn(20, 9), {"input_x_gradient", "integrated_gradients"}, (9,)),
    "series": (Series, torch.randn(20, 2, 50), USUAL, (50,)),
    "tokens": (
        Words,
        torch.randint(20, (20, 7)),
        {"occlusion", "integrated_gradients", "gradient_rollout"},
        (7,),
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_inputs_that_are_no_images_are_explained_as_what_they_are(kind):
    make, x, methods, shape = KINDS[kind]
    result = explained(make(), TensorDataset(x, TARGETS), names=list("abcdefghi") if kind == "tabular" else None)
    assert result.kind == kind
    assert {*result.maps, *result.skipped} == methods
    assert {tuple(maps.shape) for maps in result.maps.values()} == {(8, *shape)}
    assert result.names == (tuple("abcdefghi") if kind == "tabular" else ())
    assert "integrated_gradients" in result.maps


@pytest.mark.parametrize("form", ["attention", "mean", "bag"])
def test_tokens_are_explained_through_their_embeddings(form):
    net, ids = Words(form), torch.randint(20, (20, 7))
    result = explained(
        net, TensorDataset(ids, TARGETS), samples=2, methods=["input_x_gradient"], words=lambda i: f"w{i}"
    )
    row = result.samples[0].index
    assert result.words[0] == tuple(f"w{i}" for i in ids[row])
    net.eval()
    vectors = net.table.weight[ids[row]].detach().clone().requires_grad_()
    logits = net.model(net.layer(vectors[None]).mean(1))[0]
    (gradient,) = torch.autograd.grad(logits[int(result.samples[0].explained)], vectors)
    torch.testing.assert_close(result.maps["input_x_gradient"][0], (vectors * gradient).detach().sum(1))


def test_a_spectrogram_and_bands_are_what_the_user_says():
    x = torch.rand(20, 5, 16, 16)

    class Wide(Watching):
        def __init__(self):
            super().__init__()
            self.model[0] = nn.Conv2d(5, 6, 3, padding=1)
            self.model[5] = nn.Linear(6 * 256, 4)

    result = explained(Wide(), TensorDataset(x, TARGETS), bands=[4, 2, 0])
    first = result.samples[0].index
    torch.testing.assert_close(result.shown[0], x[first, [4, 2, 0]].movedim(0, 2))
    assert explained(toys.Net(), kind="spectrogram").kind == "spectrogram"


def test_the_most_confident_errors_of_each_epoch():
    net, data = toys.Net(), toys.images()
    result = explained(net, data, samples=3, choose="errors")
    with torch.no_grad():
        probability, predicted = net.eval()(data.tensors[0]).softmax(1).max(1)
    wrong = probability.masked_fill(predicted == data.tensors[1], -1)
    assert positions(result) == wrong.topk(3).indices.tolist()


def test_a_list_of_positions_and_a_cell_of_the_confusion_matrix():
    net, data = toys.Net(), toys.images()
    assert positions(explained(net, data, samples=[30, 4])) == [30, 4]
    predicted, actual = net.eval()(data.tensors[0]).argmax(1), data.tensors[1]
    cell = (int(actual[0]), int(predicted[0]))
    found = explained(net, data, choose=cell, samples=50)
    there = ((actual == cell[0]) & (predicted == cell[1])).nonzero()[:, 0].tolist()
    assert sorted(positions(found)) == there


@pytest.mark.filterwarnings("ignore:.*sampler has shuffling enabled.*")
def test_samples_stay_the_same_over_epochs_with_a_shuffled_loader_and_are_chosen_anew_in_the_next_run():
    seen = []

    class Keeping(toys.Net):
        def on_validation_end(self):
            if not self.trainer.sanity_checking:
                seen.append(saliency.results["val"].shown)

    saliency = SaliencyMaps(on_error="raise")
    trainer = toys.quiet(saliency, max_epochs=3)
    trainer.fit(Keeping(), toys.loader(), toys.loader(shuffle=True))
    assert len(seen) == 3
    assert torch.equal(seen[0], seen[1])
    assert torch.equal(seen[0], seen[2])
    trainer.validate(Keeping(), toys.loader(toys.images(seed=9)), verbose=False)
    assert not torch.equal(seen[0], seen[3])


def test_the_seed_is_that_of_the_numbers_drawn_inside():
    drawn = []

    class Drawing(toys.Net):
        def forward(self, x):
            if torch.is_grad_enabled():
                drawn.append(float(torch.rand(())))
            return super().forward(x)

    firsts = []
    for seed in (1, 1, 2):
        explained(Drawing(), methods=["saliency"], seed=seed)
        firsts.append(drawn[0])
        drawn.clear()
    assert firsts[0] == firsts[1] != firsts[2]


class Normalising(Watching):
    def step(self, batch, stage):
        self(1 - 5 * batch[0])


def test_nothing_is_drawn_where_the_step_does_more_than_the_module_and_forward_fn_says_what():
    suite = [ClassificationMetrics(), SaliencyMaps()]
    with pytest.warns(UserWarning, match="gives other scores than the step did.*forward_fn") as caught:
        toys.quiet(suite, max_epochs=2).fit(Normalising(), toys.loader(), toys.loader())
    assert sum("other scores" in str(w.message) for w in caught) == 1
    assert suite[1].results == {}
    assert explained(Normalising(), forward_fn=lambda module, x: module(1 - 5 * x)).maps


def test_images_of_whole_numbers():
    class Scaling(Watching):
        def forward(self, x):
            return super().forward(x.float() / 255)

    x, y = toys.images().tensors
    result = explained(Scaling(), TensorDataset((x * 100).to(torch.uint8), y))
    assert result.shown.max() <= 1
    assert all(values.any() for values in result.maps.values())


def test_a_forward_that_wants_whole_numbers_is_not_explained_with_others():
    class Strict(Watching):
        def forward(self, x):
            return super().forward(x / 255 if x.dtype == torch.uint8 else x)

    x, y = toys.images().tensors
    data = TensorDataset((x * 150).to(torch.uint8), y)
    with pytest.warns(UserWarning, match="gives other scores than the step did"):
        toys.quiet(SaliencyMaps()).validate(Strict(), toys.loader(data), verbose=False)


def test_images_with_the_channels_last():
    class Last(Watching):
        def forward(self, x):
            return super().forward(x.permute(0, 3, 1, 2))

    x, y = toys.images().tensors
    torch.manual_seed(0)
    last = Last()
    result = explained(last, TensorDataset(x.permute(0, 2, 3, 1), y), layer="model.2")
    plain = Watching()
    plain.load_state_dict(last.state_dict())
    other = explained(plain, TensorDataset(x, y), layer="model.2")
    for name in USUAL:
        torch.testing.assert_close(result.maps[name], other.maps[name])


def test_a_single_binary_score_speaks_for_either_class():
    class Binary(Watching):
        def __init__(self):
            super().__init__(classes=1)
            nn.init.constant_(self.model[-1].bias, -5.0)  # all rows are class 0

    result = explained(Binary(), toys.images(classes=2), task="binary")
    assert {sample.predicted for sample in result.samples} == {"0"}
    assert all(result.maps[name].flatten(1).any(1).all() for name in USUAL)


def test_a_module_without_a_forward_is_explained_through_the_part_that_takes_the_images():
    class Plain(LightningModule):
        def __init__(self):
            super().__init__()
            self.net = toys.Net().model

        def validation_step(self, batch, batch_idx):
            self.log("val/loss", F.cross_entropy(self.net(batch[0]), batch[1]))

    assert set(explained(Plain()).maps) == USUAL


def test_a_forward_that_logs_keeps_its_own_value():
    class Logging(toys.Net):
        def forward(self, x):
            if self._trainer is not None and self.trainer.validating:
                self.log("brightness", x.mean())
            return super().forward(x)

    values = []
    for callbacks in ([], [SaliencyMaps(on_error="raise")]):
        trainer = toys.quiet(callbacks)
        trainer.validate(Logging(), toys.loader(), verbose=False)
        values.append(trainer.callback_metrics["brightness"])
    assert torch.equal(*values)


def test_a_sharded_module_is_left_alone():
    class Sharded(toys.Net):
        def __init__(self):
            super().__init__()
            self.model[-1].bias.full_tensor = None

    saliency = SaliencyMaps(on_error="raise")
    with pytest.warns(UserWarning, match="does not hold the sharded module"):
        toys.quiet(saliency).validate(Sharded(), toys.loader(), verbose=False)
    assert saliency.results == {}


def test_a_named_layer_is_taken():
    assert explained(toys.Net(), layer="model.0").layer == "model.0"
    assert explained(toys.Net()).layer == "model.3"


def test_without_a_layer_class_activation_maps_are_left_out_and_asked_for_they_are_missing_with_the_reason():
    plain = explained(toys.Inline())
    assert set(plain.maps) == USUAL - {"hirescam"}
    assert plain.notes == ()
    asked = explained(toys.Inline(), methods=["saliency", "gradcam"])
    assert set(asked.maps) == {"saliency"}
    assert "name one with layer=" in asked.notes[0]


def test_methods_may_be_objects_and_functions():
    def own(problem):
        return problem.inputs * 2

    data = toys.images()
    result = explained(
        toys.Net(), data, methods=["saliency", IntegratedGradients(steps=4), Captum("FeatureAblation"), own]
    )
    assert set(result.maps) == {"saliency", "integrated_gradients", "FeatureAblation", "own"}
    torch.testing.assert_close(result.maps["own"], 2 * data.tensors[0][positions(result), 0])


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_images_of_another_precision_than_the_module(dtype):
    class Casting(Watching):
        def step(self, batch, stage):
            self(batch[0].float())

    x, y = toys.images().tensors
    assert set(explained(Casting(), TensorDataset(x.to(dtype), y)).maps) == USUAL


def test_every_so_many_epochs_and_always_the_last(tmp_path):
    epochs = []

    class Counting(toys.Net):
        def on_validation_end(self):
            if not self.trainer.sanity_checking:
                epochs.append("val" in saliency.results)

    saliency = SaliencyMaps(every_n_epochs=3, on_error="raise", methods=["saliency"])
    trainer = toys.quiet(saliency, max_epochs=5, default_root_dir=tmp_path)
    trainer.fit(Counting(), toys.loader(), toys.loader())
    assert epochs == [False, False, True, True, True]
    net = trainer.lightning_module
    last = saliency.results["val"]
    x = toys.images().tensors[0][torch.tensor(positions(last))]
    with torch.no_grad():
        assert [s.value for s in last.samples] == pytest.approx(net.eval()(x).amax(1).tolist(), rel=1e-4)
    assert (tmp_path / "posttrain/val/saliency.png").exists()
    assert (tmp_path / "posttrain/val/saliency_over_epochs.png").exists()


def test_methods_are_measured_at_the_end_of_fit_and_on_test_and_every_so_many_epochs_on_request(tmp_path):
    measured = []

    class Counting(toys.Net):
        def on_validation_end(self):
            if not self.trainer.sanity_checking:
                measured.append(saliency.results["val"].faithfulness is not None)

    methods = ["saliency", "integrated_gradients"]
    saliency = SaliencyMaps(faithfulness=2, on_error="raise", methods=methods, max_overhead=None)
    trainer = toys.quiet(saliency, max_epochs=3, default_root_dir=tmp_path)
    trainer.fit(Counting(), toys.loader(), toys.loader())
    assert measured == [False, True, False]
    rows = saliency.results["val"].faithfulness.rows
    assert set(rows) == {"saliency", "integrated_gradients", "random", "edge"}
    assert (tmp_path / "posttrain/val/faithfulness.csv").exists()
    trainer.test(trainer.lightning_module, toys.loader(), verbose=False)
    assert saliency.results["test"].faithfulness is not None


def test_the_mean_map_of_each_class_is_drawn_at_the_end_of_fit_and_on_test(tmp_path):
    saliency = SaliencyMaps(on_error="raise", methods=["input_x_gradient"], samples=2, faithfulness=False)
    trainer = toys.quiet(saliency, max_epochs=1, default_root_dir=tmp_path)
    net = toys.Net()
    trainer.fit(net, toys.loader(), toys.loader())
    assert saliency.results["val"].classes is not None
    assert (tmp_path / "posttrain/val/saliency_of_classes.png").exists()
    trainer.test(net, toys.loader(), verbose=False)
    means = saliency.results["test"].classes
    assert means.counts == (4, 4, 4, 4)
    x, y = toys.images().tensors
    for label in range(toys.CLASSES):
        first = x[y == label][:4].clone().requires_grad_()
        (slope,) = torch.autograd.grad(net.eval()(first)[:, label].sum(), first)
        torch.testing.assert_close(means.maps[label], (slope * first).sum(1).mean(0).detach())


def test_time_that_is_over_is_said_and_costs_no_run():
    result = explained(toys.Net(), max_seconds=0)
    assert result.maps == {}
    assert set(result.skipped.values()) == {"the time was over"}


def test_figures_over_the_epochs_are_logged_as_the_modules_own():
    saliency = SaliencyMaps(on_error="raise", methods=["saliency", "hirescam"], suspect_fn=lambda x, i: x[0, 0] > -9)
    trainer = toys.quiet(saliency, max_epochs=2)
    trainer.fit(toys.Net(), toys.loader(), toys.loader())
    names = {key for key in trainer.callback_metrics if key.startswith("val/")}
    figures = ("drift", "entropy", "border", "corners", "suspect")
    assert names >= {f"val/{method}/{figure}" for method in ("saliency", "hirescam") for figure in figures}
    assert float(trainer.callback_metrics["val/saliency/suspect"]) == pytest.approx(1.0)


def test_an_error_in_one_method_is_a_warning_and_the_others_are_drawn():
    def broken(problem):
        raise KeyError("inside")

    saliency = SaliencyMaps(methods=["saliency", broken], faithfulness=False)
    with pytest.warns(UserWarning, match="could not work out broken: KeyError"):
        toys.quiet(saliency).validate(toys.Net(), toys.loader(), verbose=False)
    assert set(saliency.results["val"].maps) == {"saliency"}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"explain": "all"}, "`explain` is 'all', wanted 'predicted'"),
        ({"choose": "best"}, "`choose` is 'best'"),
        ({"choose": (1, 2, 3)}, r"`choose` is \(1, 2, 3\)"),
        ({"kind": "picture"}, "`kind` is 'picture'"),
        ({"baseline": "black"}, "`baseline` is 'black'"),
        ({"every_n_epochs": 0}, "`every_n_epochs` is 0"),
        ({"precision": "half"}, "`precision` is 'half'"),
        ({"samples": []}, "`samples` is "),
    ],
)
def test_arguments_are_checked_where_they_are_given(options, words):
    with pytest.raises(ValueError, match=words):
        SaliencyMaps(**options)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_runs_by_its_name_or_says_why_not(method):
    result = explained(toys.Net(), methods=[method])
    assert (method in result.maps) != (method in result.skipped)
    assert (method in result.skipped) == ("rollout" in method)
