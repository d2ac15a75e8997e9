"""The callback: what lies in the folder after a fit and a test, and when nothing does."""

import json
import shutil

import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from lightning_posttrain import (
    Calibration,
    CheckpointEnsemble,
    ClassificationMetrics,
    DecisionThresholds,
    ModelExport,
)
from lightning_posttrain.export import load
from tests import toys
from tests.export.fits import answers_of, best_of, fitted, manifest, place

QUIET = pytest.mark.filterwarnings("ignore:.*is not kept.*")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A fit with calibration, abstention and three formats, and its test."""
    folder, export = tmp_path_factory.mktemp("run"), ModelExport(on_error="raise")
    others = (ClassificationMetrics(), Calibration(), DecisionThresholds(max_risk=0.2))
    trainer, module = fitted(folder, export, *others, epochs=3)
    after_fit = manifest(trainer)
    trainer.test(module, toys.loader(toys.images(50, seed=2)), ckpt_path="best", verbose=False)
    return trainer, module, export, after_fit


def test_the_folder_holds_what_was_asked_for(run):
    trainer, *_ = run
    files = {"model.onnx", "model.pt2", "weights.safetensors", "manifest.json", "README.md", "MLmodel"}
    assert {path.name for path in load(place(trainer)).folder.iterdir()} == files


def test_the_loaded_folder_answers_as_the_best_checkpoint(run):
    trainer, module, *_ = run
    rows = toys.images(30, seed=5).tensors[0]
    answers = load(place(trainer))(rows.numpy())
    temperature = (answers.how.calibration or {"parameters": {"temperature": 1.0}})["parameters"]["temperature"]
    with torch.no_grad():
        logits = best_of(trainer, module).eval()(rows)
    np.testing.assert_allclose(answers.probabilities, (logits / temperature).softmax(1), atol=1e-5)
    sure = logits.softmax(1).amax(1) >= (answers.how.confidence or 0)
    assert answers.decision.tolist() == torch.where(sure, logits.argmax(1), -1).tolist()


def test_the_test_compares_every_row_and_every_figure(run):
    export = run[2]
    assert export.results["val"]["onnx"].rows == 60
    found = export.results["test"]["onnx"]
    assert (found.rows, found.flips, found.kept) == (50, 0, True)
    accuracy = export.results["test"]["onnx"].metrics["accuracy"]
    assert accuracy[0] == accuracy[1]
    assert {"log_loss", "f1_macro", "auroc_macro"} <= found.metrics.keys()


def test_the_manifest_tells_of_both_stages(run):
    trainer, *_, after_fit = run
    after_test = manifest(trainer)
    assert set(after_fit["metrics"]) == {"val"}
    assert set(after_test["metrics"]) == {"val", "test"}
    assert after_test["parity"]["onnx"]["stage"] == "test"
    assert after_test["data"]["test"]["rows"] == 50
    assert sum(after_test["data"]["test"]["class_counts"]) == 50
    assert after_test["files"]["model.onnx"] == after_fit["files"]["model.onnx"]
    assert after_test["reference"]["rows"] == 50
    accuracy = after_test["metrics"]["test"]["accuracy"]
    assert accuracy["low"] <= accuracy["value"] <= accuracy["high"]


@pytest.mark.slow
def test_the_figures_are_those_of_the_classifier_report_where_nothing_is_calibrated(run, tmp_path):
    export, metrics = ModelExport(formats=["pt2"], on_error="raise"), ClassificationMetrics()
    trainer, module = fitted(tmp_path, export, metrics)
    trainer.test(module, toys.loader(toys.images(50, seed=2)), verbose=False)
    theirs = metrics.results["test"].overall
    for name, (tested, exported) in export.results["test"]["pt2"].metrics.items():
        assert tested == pytest.approx(theirs[name], abs=1e-6, nan_ok=True), name
        assert exported == pytest.approx(theirs[name], abs=1e-4, nan_ok=True), name


def test_a_figure_is_logged_for_monitors(run):
    trainer, *_ = run
    assert trainer.callback_metrics["test/export/onnx/flips"] == 0


@pytest.mark.slow
def test_a_test_with_other_weights_exports_these(tmp_path):
    trainer, _ = fitted(tmp_path, ModelExport(formats=["pt2"], on_error="raise"))
    other, rows = toys.Net(), toys.images(20, seed=3).tensors[0]
    trainer.test(other, toys.loader(toys.images(50, seed=2)), verbose=False)
    assert manifest(trainer)["weights"]["source"] == "tested"
    answers = load(place(trainer), format="pt2")(rows.numpy())
    np.testing.assert_allclose(answers.probabilities, answers_of(other, rows), atol=1e-6)


@pytest.mark.slow
def test_a_test_in_another_process_finds_the_folder_of_a_fit(tmp_path):
    folder = str(tmp_path / "out")
    trainer, module = fitted(tmp_path, ModelExport(formats=["pt2"], folder=folder, on_error="raise"))
    with open(f"{folder}/manifest.json") as file:  # noqa: PTH123
        created = json.load(file)["created"]
    again, best = ModelExport(formats=["pt2"], folder=folder, on_error="raise"), best_of(trainer, module)
    toys.quiet(again).test(best, toys.loader(toys.images(50, seed=2)), verbose=False)
    with open(f"{folder}/manifest.json") as file:  # noqa: PTH123
        found = json.load(file)
    assert (found["created"], found["weights"]["source"]) == (created, "best")
    assert again.results["test"]["pt2"].flips == 0
    assert found["data"]["test"]["rows"] == 50


def test_normalisation_is_in_the_graph(tmp_path):
    mean, std = 0.25, 0.5
    given = toys.images(64)
    normalised = TensorDataset((given.tensors[0] - mean) / std, given.tensors[1])
    export = ModelExport(formats=["pt2"], mean=[mean], std=[std], on_error="raise")
    loaders = (toys.loader(normalised), toys.loader(normalised))
    trainer, module = fitted(tmp_path, export, data=loaders)
    answers = load(place(trainer), format="pt2")(given.tensors[0].numpy())
    wanted = answers_of(best_of(trainer, module), normalised.tensors[0])
    np.testing.assert_allclose(answers.probabilities, wanted, atol=1e-5)
    assert manifest(trainer)["decision"]["mean"] == [mean]


@pytest.mark.slow
def test_bytes_are_scaled_and_normalised_in_the_graph(tmp_path):
    pixels = torch.randint(0, 256, (64, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    data = TensorDataset((pixels / 255 - 0.5) / 0.25, toys.images(64).tensors[1])
    export = ModelExport(formats=["pt2"], mean=[0.5], std=[0.25], uint8=True, on_error="raise")
    trainer, module = fitted(tmp_path, export, data=(toys.loader(data), toys.loader(data)))
    answers = load(place(trainer), format="pt2")(pixels.numpy())
    wanted = answers_of(best_of(trainer, module), data.tensors[0])
    np.testing.assert_allclose(answers.probabilities, wanted, atol=1e-5)
    with pytest.raises(ValueError, match=r"`x` is of float"):
        load(place(trainer), format="pt2")(pixels.numpy() / 255)


class Dropping(toys.Net):
    """Leaves its dropout on."""

    def forward(self, x):
        return self.model[5](F.dropout(self.model[:5](x), 0.5))


class Baked(toys.Net):
    """Uses the size of a batch as a number."""

    def forward(self, x):
        return self.model(x) + 0 * sum(x[row].mean() for row in range(int(x.shape[0])))


class Branching(toys.Net):
    """Decides in Python on a value."""

    def forward(self, x):
        return self.model(x) if x.mean() > -1e9 else self.model(2 * x)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (Dropping, r"dropout|random numbers|rows influence each other"),
        (Baked, "the batch size is used as a number"),
        (Branching, r"decides in Python on the values of a tensor.*torch\.where"),
    ],
)
def test_what_answers_otherwise_is_refused_with_its_reason(kind, said, tmp_path):
    export = ModelExport(formats=["pt2"], forward_fn=None)
    with pytest.warns(UserWarning, match=said):
        trainer, _ = fitted(tmp_path, export, module=kind())
    assert not shutil.os.path.exists(place(trainer))
    if "val" in export.results:
        assert not export.results["val"]["pt2"].kept


def parts(data):
    return data.tensors


def several(x, y):
    """The class of a picture and another one, as labels."""
    return F.one_hot(y, toys.CLASSES) | F.one_hot((y + x.sum((1, 2, 3)).long()) % toys.CLASSES, toys.CLASSES)


class Binary(toys.Net):
    """One logit a row."""

    def __init__(self):
        super().__init__(classes=1)

    def training_step(self, batch, batch_idx):
        return F.binary_cross_entropy_with_logits(self(batch[0])[:, 0], (batch[1] % 2).float())

    def validation_step(self, batch, batch_idx):
        logits = self(batch[0]).squeeze(1)
        self.log("val/loss", F.binary_cross_entropy_with_logits(logits, (batch[1] % 2).float()))

    test_step = validation_step


class Labels(toys.Net):
    """Four labels a row."""

    def training_step(self, batch, batch_idx):
        return F.binary_cross_entropy_with_logits(self(batch[0]), batch[1].float())

    def validation_step(self, batch, batch_idx):
        self.log("val/loss", F.binary_cross_entropy_with_logits(self(batch[0]), batch[1].float()))

    test_step = validation_step


@pytest.mark.parametrize(("kind", "shape"), [pytest.param(Binary, (20, 2), marks=pytest.mark.slow), (Labels, (20, 4))])
def test_tested_thresholds_decide_in_the_graph(kind, shape, tmp_path):
    export, thresholds = ModelExport(formats=["pt2"], on_error="raise"), DecisionThresholds()
    data = [toys.images(60, seed=seed) for seed in range(3)]
    if kind is Labels:
        data = [TensorDataset(x, several(x, y)) for x, y in map(parts, data)]
    train, val, test = map(toys.loader, data)
    trainer, module = fitted(tmp_path, export, thresholds, Calibration(), module=kind(), epochs=1, data=(train, val))
    trainer.test(module, test, verbose=False)
    assert export.results["test"]["pt2"].flips == 0
    rows = toys.images(20, seed=3).tensors[0]
    answers = load(place(trainer), format="pt2")(rows.numpy())
    with torch.no_grad():
        own = module.eval()(rows).sigmoid().double()
    limits = thresholds.thresholds if thresholds.thresholds is not None else torch.tensor([0.5])
    assert answers.probabilities.shape == shape
    assert answers.decision.reshape(20, -1).tolist() == (own >= limits).long().tolist()


class Positions(toys.Net):
    """A class for each pixel."""

    def __init__(self):
        super().__init__()
        self.model = nn.Conv2d(1, 3, 3, padding=1)

    def training_step(self, batch, batch_idx):
        return F.cross_entropy(self(batch[0]), (batch[0][:, 0] > 0.5).long())

    def validation_step(self, batch, batch_idx):
        self.log("val/loss", F.cross_entropy(self(batch[0]), (batch[0][:, 0] > 0.5).long()))

    test_step = validation_step


@pytest.mark.slow
def test_a_segmentation_is_exported_as_maps(tmp_path):
    masks = (toys.images(64).tensors[0][:, 0] > 0.5).long()
    data = TensorDataset(toys.images(64).tensors[0], masks)

    class Maps(Positions):
        def validation_step(self, batch, batch_idx):
            self.log("val/loss", F.cross_entropy(self(batch[0]), batch[1]))

        test_step = validation_step

    export = ModelExport(formats=["pt2"], on_error="raise")
    trainer, module = fitted(tmp_path, export, module=Maps(), data=(toys.loader(data), toys.loader(data)), epochs=1)
    trainer.test(module, toys.loader(data), verbose=False)
    assert (export.results["test"]["pt2"].flips, export.results["test"]["pt2"].decisions) == (0, 64 * 64)
    assert load(place(trainer), format="pt2")(data.tensors[0].numpy()).decision.shape == (64, 8, 8)


@pytest.mark.slow
def test_an_ensemble_is_exported_as_one_model(tmp_path):
    ensemble, export = CheckpointEnsemble(), ModelExport(formats=["pt2"], weights="ensemble", on_error="raise")
    trainer, module = fitted(tmp_path, export, ensemble, epochs=3, keep=3)
    rows = toys.images(20, seed=3).tensors[0]
    with torch.no_grad():
        wanted = ensemble.network(module)(rows).softmax(1)
    answers = load(place(trainer), format="pt2")(rows.numpy())
    np.testing.assert_allclose(answers.probabilities, wanted, atol=1e-5)
    trainer.test(module, toys.loader(toys.images(50, seed=2)), verbose=False)
    assert export.results["test"]["pt2"].rows == 50
    assert manifest(trainer)["weights"]["source"] == "ensemble"


@pytest.mark.slow
def test_a_temperature_for_other_weights_is_left_out_and_said(tmp_path):
    export, calibration = ModelExport(formats=["pt2"], on_error="raise"), Calibration()
    trainer, module = fitted(tmp_path, export, calibration)
    module.model[5].bias.data += 1
    trainer.test(module, toys.loader(toys.images(50, seed=2)), verbose=False)
    assert export.results["test"].left_out == ("calibration: what Calibration has fitted is for other weights",)
    assert manifest(trainer)["decision"]["calibration"] is None


def test_without_validation_nothing_is_exported_and_it_is_said(tmp_path):
    export = ModelExport(formats=["pt2"])
    trainer = toys.quiet([export], max_epochs=1, logger=CSVLogger(tmp_path, name=""), limit_val_batches=0)
    with pytest.warns(UserWarning, match="kept no row of validation"):
        trainer.fit(toys.Net(), toys.loader(), toys.loader())
    assert export.results == {}


def test_a_folder_that_is_not_ours_stays_and_the_run_goes_on(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years")
    with pytest.warns(UserWarning, match=r"a folder that is not an export.*Move it elsewhere"):
        fitted(tmp_path, ModelExport(formats=["pt2"], folder=str(tmp_path / "mine")))
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


def test_a_short_test_compares_as_many_rows_as_were_said(tmp_path):
    export = ModelExport(formats=["pt2"], test_rows=25, on_error="raise")
    toys.quiet([export], logger=CSVLogger(tmp_path, name="")).test(
        toys.Net(), toys.loader(toys.images(50)), verbose=False
    )
    assert export.results["test"]["pt2"].rows == 25


def test_the_module_is_asked_in_one_validation_alone(tmp_path):
    calls = []

    class Counting(toys.Net):
        def forward(self, x):
            calls.append(self._trainer and self._trainer.state.stage)
            return super().forward(x)

    fitted(tmp_path, ModelExport(formats=["pt2"], on_error="raise"), module=Counting(), epochs=4)
    validations = sum(stage is not None and stage.value == "validate" for stage in calls)
    assert validations == 4 * 6 + 1  # to see which call gives the scores


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"formats": ["onx"]}, r"`formats` is 'onx', wanted 'onnx' or"),
        ({"formats": []}, r"`formats` is \[\], wanted"),
        ({"mean": [0.5]}, r"`std` is None, wanted mean and std, or neither"),
        ({"mean": [0.5], "std": [0.0]}, r"`std` is \[0\.0\], wanted numbers above 0"),
        ({"mean": [0.5, 0.5], "std": [1.0]}, r"`mean` has 2 numbers and `std` 1"),
        ({"weights": "bst"}, r"`weights` is 'bst', wanted 'best', 'last', 'average', 'ensemble' or the path"),
        ({"rows": 0}, r"`rows` is 0, wanted at least 1"),
    ],
)
def test_arguments_are_checked(options, said):
    with pytest.raises(ValueError, match=said):
        ModelExport(**options)


def test_several_inputs_of_free_length_are_named(tmp_path):
    class Texts(toys.Net):
        def __init__(self):
            super().__init__()
            self.model = nn.ModuleDict({"words": nn.Embedding(20, 8), "head": nn.Linear(8, toys.CLASSES)})

        def forward(self, tokens, mask):
            held = self.model["words"](tokens) * mask[..., None]
            return self.model["head"](held.sum(1) / mask.sum(1, keepdim=True).clamp(min=1))

        def logits(self, batch):
            return self(batch["tokens"], mask=batch["mask"])

        def training_step(self, batch, batch_idx):
            return F.cross_entropy(self.logits(batch), batch["label"])

        def validation_step(self, batch, batch_idx):
            self.log("val/loss", F.cross_entropy(self.logits(batch), batch["label"]))

        test_step = validation_step

    generator = torch.Generator().manual_seed(0)

    def batches():
        return [
            {
                "tokens": torch.randint(0, 20, (8, 5 + n), generator=generator),
                "mask": torch.ones(8, 5 + n),
                "label": torch.randint(0, toys.CLASSES, (8,), generator=generator),
            }
            for n in range(4)
        ]

    loaders = [DataLoader(batches(), batch_size=None) for _ in range(3)]
    export = ModelExport(formats=["pt2"], on_error="raise")
    trainer, module = fitted(tmp_path, export, module=Texts(), data=loaders[:2], epochs=1)
    found = load(place(trainer), format="pt2")
    assert [spec.name for spec in found.signature.inputs] == ["tokens", "mask"]
    assert found.signature.inputs[0].shape == (None, None)
    rows = {"tokens": np.ones((3, 11), dtype=np.int64), "mask": np.ones((3, 11), dtype=np.float32)}
    with torch.no_grad():
        wanted = module.eval()(torch.ones(3, 11, dtype=torch.int64), torch.ones(3, 11)).softmax(1)
    np.testing.assert_allclose(found(rows).probabilities, wanted, atol=1e-5)
