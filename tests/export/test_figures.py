"""The figures of what is exported are those that were tested: of decisions by the network's own probabilities."""

import pytest
import torch

from lightning_posttrain import Calibration, ClassificationMetrics, ModelExport
from lightning_posttrain.export import load
from tests import toys
from tests.export.test_model_export import Binary, fitted

OF_LABELS = ("accuracy", "f1_macro", "mcc", "balanced_accuracy")


class Biased(toys.Net):
    """Gives two classes too much and too little."""

    def forward(self, x):
        return self.model(x) + torch.tensor([3.0, 0.0, 0.0, -3.0])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=1e-3)


class BiasedBinary(Binary):
    """Gives class 1 too much."""

    def forward(self, x):
        return self.model(x) + 2.0

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=1e-3)


@pytest.mark.parametrize(("kind", "method"), [(Biased, "vector"), (BiasedBinary, "platt"), (BiasedBinary, "isotonic")])
def test_a_calibration_that_changes_the_likeliest_class_changes_no_figure_of_decisions(kind, method, tmp_path):
    export, metrics = ModelExport(formats=["pt2"], on_error="raise"), ClassificationMetrics()
    calibration = Calibration(method=method, task="multiclass" if kind is Biased else "binary")
    data = (toys.loader(toys.images(30)), toys.loader(toys.images(300, seed=1), batch_size=50))
    trainer, module = fitted(tmp_path, export, metrics, calibration, module=kind(), data=data, epochs=1)
    trainer.test(module, toys.loader(toys.images(200, seed=2), batch_size=50), verbose=False)
    found, theirs = export.results["test"], metrics.results["test"].overall
    for name in OF_LABELS:
        assert found["pt2"].metrics[name] == pytest.approx((theirs[name],) * 2), name
    calibrated = calibration.results["test"].scalars()
    for name in ("log_loss", "ece"):
        assert found["pt2"].metrics[name] == pytest.approx((calibrated[f"{name}_calibrated"],) * 2, abs=1e-6), name
    assert calibrated["log_loss_calibrated"] < calibrated["log_loss"] == pytest.approx(theirs["log_loss"])
    assert found.left_out == ()
    assert "calibration makes another class the likelier one in" in found.remarks[0]


@pytest.mark.slow
def test_what_was_fitted_to_other_scores_is_left_out_and_said(tmp_path):
    export = ModelExport(formats=["pt2"], on_error="raise")
    calibration = Calibration(scores_fn=lambda outputs, batch: batch[0].flatten(1)[:, : toys.CLASSES])
    fitted(tmp_path, export, calibration, epochs=1)
    said = "calibration: Calibration reads other scores than ModelExport, or for another task or target"
    assert export.results["val"].left_out == (said,)


@pytest.mark.slow
def test_an_earlier_export_with_another_calibration_is_made_anew(tmp_path):
    folder, val = str(tmp_path / "out"), toys.loader(toys.images(300, seed=1), batch_size=50)
    module, found = Biased(), []
    for method in ("temperature", "vector"):
        calibration = Calibration(method=method, on_error="raise")
        export = ModelExport(formats=["pt2"], folder=folder, on_error="raise")
        trainer = toys.quiet([calibration, export])
        trainer.validate(module, val, verbose=False)
        trainer.test(module, toys.loader(toys.images(50, seed=2)), verbose=False)
        found.append(load(folder, format="pt2").decision.calibration["method"])
    assert found == ["temperature", "vector"]
