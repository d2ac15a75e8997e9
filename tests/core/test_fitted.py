"""What is fitted on validation: frozen on test, carried by checkpoints, never fitted on test."""

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import ModelCheckpoint
from sklearn.metrics import brier_score_loss, f1_score, log_loss
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from lightning_posttrain import Calibration, DecisionThresholds
from lightning_posttrain.calibration.calibrators.scaling import TemperatureScaling
from tests import toys


class Sure(toys.Net):
    """Logits that are the inputs, times how sure it is."""

    def __init__(self, sharpness=3.0, head=None):
        super().__init__()
        self.model = nn.Identity() if head is None else head
        self.sharpness = nn.Parameter(torch.tensor(sharpness))

    def forward(self, x):
        return self.sharpness * self.model(x)

    def step(self, batch, stage):
        self(batch[0])

    def training_step(self, batch, batch_idx):
        return F.cross_entropy(self(batch[0]), batch[1])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01)


def rows(count, seed, classes=4):
    """Logits, and classes that are drawn by just their probabilities."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(count, classes, generator=generator)
    return TensorDataset(logits, torch.multinomial(logits.softmax(1), 1, generator=generator)[:, 0])


VAL, TEST = rows(3000, 0), rows(2000, 1)


def loader(data):
    return DataLoader(data, batch_size=256)


def test_a_known_temperature_is_found_on_validation_and_applied_on_test():
    net, calibration = Sure(), Calibration(on_error="raise")
    trainer = toys.quiet(calibration)
    trainer.validate(net, loader(VAL), verbose=False)
    found = calibration.results["val"]
    assert found.parameters["temperature"] == pytest.approx(3.0, rel=0.05)
    assert found.held_out
    trainer.test(net, loader(TEST), verbose=False)
    tested = calibration.results["test"]
    assert tested.parameters == found.parameters
    assert not tested.held_out
    assert tested.after.ece < 0.3 * tested.before.ece
    with torch.no_grad():
        chance = calibration.calibrated(net)(TEST.tensors[0]).double().softmax(1)
    assert tested.after.log_loss == pytest.approx(log_loss(TEST.tensors[1], chance), rel=1e-4)
    raw = (3 * TEST.tensors[0].double()).softmax(1)
    assert tested.before.log_loss == pytest.approx(log_loss(TEST.tensors[1], raw), rel=1e-4)


def test_the_temperature_is_that_of_a_descent_over_all_rows():
    calibration = Calibration(on_error="raise")
    toys.quiet(calibration).validate(Sure(), loader(VAL), verbose=False)
    logits, target = 3 * VAL.tensors[0].double(), VAL.tensors[1]
    scale = torch.ones((), dtype=torch.float64, requires_grad=True)
    descent = torch.optim.LBFGS([scale], max_iter=200, line_search_fn="strong_wolfe", tolerance_grad=1e-12)

    def loss():
        descent.zero_grad()
        value = F.cross_entropy(scale * logits, target)
        value.backward()
        return value

    descent.step(loss)
    assert calibration.results["val"].parameters["temperature"] == pytest.approx(1 / scale.item(), rel=1e-4)


def test_what_helps_no_held_out_row_is_not_kept():
    calibration = Calibration(on_error="raise")
    trainer = toys.quiet(calibration)
    for seed in range(40):  # calibrated already: chance alone decides, mostly against it
        trainer.validate(Sure(1.0), loader(rows(300, seed)), verbose=False)
        if not calibration.results["val"].kept:
            break
    result = calibration.results["val"]
    assert not result.kept
    assert result.after is None
    assert "not kept" in result.reason
    trainer.test(Sure(1.0), loader(TEST), verbose=False)
    assert calibration.results["test"].after is None
    x = torch.randn(5, 4)
    assert torch.equal(calibration.calibrated(nn.Identity())(x), x)


@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")
@pytest.mark.parametrize("weights_only", [True, False, None])
def test_a_test_with_a_checkpoint_applies_what_was_fitted_for_those_weights(tmp_path, weights_only):
    data = rows(400, 3)
    kinds = [
        Calibration(on_error="raise"),
        DecisionThresholds(on_error="raise", one_vs_rest=True, max_risk=0.3),
    ]
    best = ModelCheckpoint(dirpath=tmp_path, monitor="val/calibration/log_loss", mode="max", save_top_k=1)
    trainer = toys.quiet([*kinds, best], max_epochs=3, enable_checkpointing=True)
    net = Sure()
    fitted = []

    class Spy(Callback):
        def on_validation_end(self, trainer, pl_module):
            if not trainer.sanity_checking:
                fitted.append((kinds[0].calibrator.numbers(), kinds[1].thresholds))

    trainer.callbacks.insert(0, Spy())
    trainer.fit(net, loader(data), loader(VAL))
    assert fitted[0][0] != fitted[-1][0]
    again = [Calibration(on_error="raise"), DecisionThresholds(on_error="raise", one_vs_rest=True, max_risk=0.3)]
    options = {} if weights_only is None else {"weights_only": weights_only}
    try:
        toys.quiet(again).test(Sure(), loader(TEST), ckpt_path=best.best_model_path, verbose=False, **options)
    except TypeError:
        pytest.skip("this Lightning has no weights_only")
    assert again[0].calibrator.numbers() == fitted[0][0]
    torch.testing.assert_close(again[1].thresholds, fitted[0][1], equal_nan=True)
    assert again[1].results["test"].frozen
    assert again[1].results["test"].abstention.frozen


def test_without_a_validation_test_is_reported_unadjusted_and_says_so(caplog):
    kinds = [Calibration(on_error="raise"), DecisionThresholds(on_error="raise", one_vs_rest=True)]
    with caplog.at_level("INFO"):
        toys.quiet(kinds).test(Sure(), loader(TEST), verbose=False)
    for kind in kinds:
        result = kind.results["test"]
        assert result.reason == "nothing was fitted on validation"
        assert any(type(kind).__name__ in text and "ckpt_path" in text for text in caplog.messages)
    assert kinds[0].results["test"].after is None
    assert kinds[1].results["test"].tuned is None
    assert kinds[0].fitted is kinds[1].fitted is None


class Binary(Sure):
    def forward(self, x):
        return self.sharpness * x

    def training_step(self, batch, batch_idx):
        return F.binary_cross_entropy_with_logits(self(batch[0]), batch[1].float())


def rare(count, seed):
    generator = torch.Generator().manual_seed(seed)
    target = (torch.rand(count, generator=generator) < 0.1).long()
    return TensorDataset(torch.randn(count, generator=generator) + 1.5 * target - 2.5, target)


@pytest.mark.parametrize("method", ["temperature", "platt", "isotonic", ["temperature", "platt"]])
def test_binary_scores_are_calibrated_in_the_form_in_which_they_come(method):
    calibration = Calibration(task="binary", method=method, on_error="raise")
    trainer, val, test = toys.quiet(calibration), rare(4000, 0), rare(3000, 1)
    trainer.validate(Binary(2.0), loader(val), verbose=False)
    trainer.test(Binary(2.0), loader(test), verbose=False)
    after = calibration.results["test"].after
    with torch.no_grad():
        logits = calibration.calibrated(Binary(2.0))(test.tensors[0])
    assert logits.shape == test.tensors[0].shape
    assert after.brier == pytest.approx(brier_score_loss(test.tensors[1], logits.double().sigmoid()), abs=1e-6)
    assert after.log_loss < calibration.results["test"].before.log_loss


def test_probabilities_stay_probabilities_behind_a_calibrator():
    calibration = Calibration(scores="probabilities", on_error="raise")

    class Softmax(Sure):
        def forward(self, x):
            return (self.sharpness * x).softmax(1)

    toys.quiet(calibration).validate(Softmax(), loader(VAL), verbose=False)
    found = calibration.calibrated(Softmax())(VAL.tensors[0])
    torch.testing.assert_close(found.sum(1), torch.ones(len(found)))
    wanted = TemperatureScaling(calibration.calibrator.numbers()["temperature"], "multiclass")(3 * VAL.tensors[0])
    torch.testing.assert_close(found, wanted.softmax(1), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_a_threshold_is_that_of_an_exhaustive_search_and_its_gain_holds_on_test():
    thresholds = DecisionThresholds(task="binary", on_error="raise", max_risk=0.05)
    trainer, val, test = toys.quiet(thresholds), rare(3000, 0), rare(3000, 1)
    trainer.validate(Binary(1.0), loader(val), verbose=False)
    chance, target = val.tensors[0].double().sigmoid(), val.tensors[1]
    best = max(f1_score(target, chance >= t) for t in chance.unique().tolist())
    (threshold,) = thresholds.thresholds.tolist()
    assert f1_score(target, chance >= threshold) == pytest.approx(best)
    trainer.test(Binary(1.0), loader(test), verbose=False)
    result = thresholds.results["test"]
    said = test.tensors[0].double().sigmoid()
    gain = f1_score(test.tensors[1], said >= threshold) - f1_score(test.tensors[1], said >= 0.5)
    assert result.gain == pytest.approx(gain)
    assert result.gain > 0.1
    low, high = result.gain_interval
    assert 0 < low < gain < high


@pytest.mark.parametrize(
    ("kind", "options", "words"),
    [
        (Calibration, {"method": "isotonic"}, "isotonic"),
        (Calibration, {"method": "warm"}, "warm"),
        (Calibration, {"method": []}, "`method`"),
        (Calibration, {"bins": 1}, "`bins` is 1"),
        (DecisionThresholds, {"objective": "accuracy"}, "accuracy"),
        (DecisionThresholds, {"objective": "recall_at_precision"}, "`at`"),
        (DecisionThresholds, {"objective": "cost"}, "`costs`"),
        (DecisionThresholds, {"max_risk": 2}, "`max_risk` is 2"),
        (DecisionThresholds, {"max_risk": 0.1, "task": "multilabel"}, "`max_risk`"),
        (DecisionThresholds, {"one_vs_rest": True, "task": "binary"}, "`one_vs_rest`"),
    ],
)
def test_arguments_are_checked_where_they_are_given(kind, options, words):
    with pytest.raises(ValueError, match=words):
        kind(**options)


def test_of_several_validation_loaders_the_first_is_fitted_on():
    calibration = Calibration(on_error="raise")
    toys.quiet(calibration).validate(Several(), [loader(VAL), loader(rows(500, 5))], verbose=False)
    assert calibration.results["val"].held_out
    second = calibration.results["val/dataloader_1"]
    assert not second.held_out
    assert second.parameters == calibration.results["val"].parameters


class Several(Sure):
    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        self(batch[0])


def test_nothing_is_fitted_in_a_sanity_check_and_figures_can_be_monitored():
    calibration = Calibration(on_error="raise")
    seen = []

    class Spy(Callback):
        def on_train_start(self, trainer, pl_module):
            seen.append(calibration.fitted)

    trainer = toys.quiet([Spy(), calibration], max_epochs=1, num_sanity_val_steps=2)
    trainer.fit(Sure(), loader(rows(300, 3)), loader(VAL))
    assert seen == [None]
    logged = {name for name in trainer.callback_metrics if name.startswith("val/calibration/")}
    assert {"val/calibration/ece", "val/calibration/ece_calibrated", "val/calibration/temperature"} <= logged
