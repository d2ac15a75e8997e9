"""A test after a fit: which exports it takes up, what becomes of their files, and what is said of the weights."""

import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger

from lightning_posttrain import ModelExport
from lightning_posttrain.export import load
from lightning_posttrain.export.formats import FORMATS
from tests import toys
from tests.export.fits import answers_of, best_of, fitted, manifest
from tests.export.test_model_export import Branching

TEST = toys.images(50, seed=2)


def compared(module, formats, folder):
    """The test of a module in another run."""
    again = ModelExport(formats=formats, folder=folder, on_error="raise")
    toys.quiet(again).test(module, toys.loader(TEST), verbose=False)
    return again.results["test"]


class Wrong:
    """A format whose answers in a test are others, or that fails there."""

    def __init__(self, runner):
        self.runner = runner

    def __call__(self, rows):
        outputs = self.runner(rows)
        return outputs._replace(decision=(outputs.decision + 1) % toys.CLASSES)


@pytest.fixture
def spoiled(monkeypatch):
    """Formats by name that answer otherwise once they are opened again."""

    def spoil(name):
        opened = type(FORMATS[name]).opened
        monkeypatch.setattr(type(FORMATS[name]), "opened", lambda *given, **more: Wrong(opened(*given, **more)))

    return spoil


@pytest.mark.slow
def test_weights_of_the_same_sums_are_other_weights(tmp_path):
    folder = str(tmp_path / "out")
    trainer, module = fitted(tmp_path, ModelExport(formats=["pt2"], folder=folder, on_error="raise"))
    best = best_of(trainer, module)
    last = best.model[5]
    last.weight.data, last.bias.data = last.weight.data.flip(0), last.bias.data.flip(0)
    compared(best, ["pt2"], folder)
    rows = toys.images(20, seed=3).tensors[0]
    found = load(folder, format="pt2")
    assert found.manifest.weights["source"] == "tested"
    np.testing.assert_allclose(found(rows.numpy()).probabilities, answers_of(best, rows), atol=1e-6)


def test_a_card_that_was_edited_stays_when_a_test_adds_its_figures(tmp_path):
    folder = tmp_path / "out"
    trainer, module = fitted(tmp_path, ModelExport(formats=["pt2"], folder=str(folder), on_error="raise"))
    (folder / "README.md").write_text("Mine.")
    compared(best_of(trainer, module), ["pt2"], str(folder))
    assert (folder / "README.md").read_text() == "Mine."
    assert load(folder, format="pt2").manifest.data["test"]["rows"] == 50


@pytest.mark.filterwarnings("ignore:.*not kept")
def test_a_format_that_fails_the_test_leaves_the_folder_and_the_others_stay(tmp_path, spoiled):
    folder = tmp_path / "out"
    trainer, module = fitted(tmp_path, ModelExport(formats=["onnx", "pt2"], folder=str(folder), on_error="raise"))
    spoiled("onnx")
    report = compared(best_of(trainer, module), ["onnx", "pt2"], str(folder))
    assert (report["onnx"].kept, report["pt2"].kept, report.remarks) == (False, True, ())
    assert {path.name for path in folder.iterdir()} == {"model.pt2", "manifest.json", "README.md"}
    found = load(folder, format="pt2").manifest
    assert (set(found.files), set(found.cost)) == ({"model.pt2", "README.md"}, {"pt2"})
    assert "without being ties" in found.parity["onnx"]["reason"]


@pytest.mark.filterwarnings("ignore:.*not kept")
def test_an_export_of_which_nothing_stands_the_test_is_removed_and_that_is_said(tmp_path, spoiled):
    folder = tmp_path / "out"
    trainer, module = fitted(tmp_path, ModelExport(formats=["pt2"], folder=str(folder), on_error="raise"))
    spoiled("pt2")
    report = compared(best_of(trainer, module), ["pt2"], str(folder))
    assert not folder.exists()
    assert "the earlier export was removed" in report.remarks[0]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")
def test_weights_of_a_checkpoint_are_told_by_its_epoch_and_step(tmp_path):
    trainer, _ = fitted(tmp_path, ModelExport(formats=["pt2"], on_error="raise"), epochs=3)
    path = trainer.checkpoint_callback.best_model_path
    saved = torch.load(path, weights_only=True)
    export = ModelExport(formats=["pt2"], on_error="raise")
    other = toys.quiet(export, logger=CSVLogger(tmp_path / "other", name=""))
    other.test(toys.Net(), toys.loader(TEST), ckpt_path=path, verbose=False)
    weights = manifest(other)["weights"]
    assert (weights["epoch"], weights["step"]) == (saved["epoch"], saved["global_step"])
    other.test(toys.Net(), toys.loader(TEST), verbose=False)
    assert "epoch" not in manifest(other)["weights"]


def test_statistics_of_inputs_are_those_of_all_rows_of_the_test(tmp_path):
    trainer, module = fitted(tmp_path, ModelExport(formats=["pt2"], on_error="raise"))
    trainer.test(module, toys.loader(TEST), ckpt_path="best", verbose=False)
    pixels = TEST.tensors[0].double()
    (found,) = manifest(trainer)["input_statistics"].values()
    wanted = {"low": pixels.min(), "high": pixels.max(), "mean": pixels.mean(), "std": pixels.std(correction=0)}
    assert found == {name: [pytest.approx(value.item(), rel=1e-5)] for name, value in wanted.items()}


def test_a_network_that_cannot_be_traced_is_refused_in_a_test_as_after_a_fit(tmp_path):
    export = ModelExport(formats=["pt2"])
    trainer = toys.quiet(export, logger=CSVLogger(tmp_path, name=""))
    with pytest.warns(UserWarning, match="decides in Python on the values of a tensor"):
        trainer.test(Branching(), toys.loader(TEST), verbose=False)
    assert not export.results["test"]["pt2"].kept
