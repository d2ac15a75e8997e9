"""A figure that two callbacks have is the same in both, and charted once."""

import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.loggers import CSVLogger
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics.functional import classification as tm

from lightning_posttrain import Calibration, ClassificationMetrics
from lightning_posttrain.calibration.calibrators.scaling import TemperatureScaling
from lightning_posttrain.calibration.functional.report import report_applied, report_before
from lightning_posttrain.classification import ScoreRows
from lightning_posttrain.core.statistics.precision import LARGEST_LOSS
from tests import toys

SHARED = ("ece", "brier", "log_loss")
TASKS = ("binary", "two classes", "multiclass", "multilabel")


class AsGiven(toys.Net):
    """Gives its inputs as logits, with a loss for the task."""

    def __init__(self, task):
        super().__init__()
        self.model, self.task = nn.Identity(), task

    def step(self, batch, stage):
        scores, target = self(batch[0]), batch[1]
        if self.task in ("binary", "multilabel"):
            self.log(f"{stage}/loss", F.binary_cross_entropy_with_logits(scores, target.float()))
        else:
            self.log(f"{stage}/loss", F.cross_entropy(scores, target))


def rows(task, scale=1.0, number=400):
    generator = torch.Generator().manual_seed(1)
    columns = {"binary": (), "two classes": (2,), "multiclass": (5,), "multilabel": (3,)}
    shape = (number, *columns[task])
    logits = torch.randn(shape, generator=generator)
    flipped = torch.rand(shape if task == "multilabel" else (number,), generator=generator) < 0.3
    if task in ("binary", "multilabel"):
        target = ((logits > 0) != flipped).long()
    else:
        target = torch.where(flipped, torch.randint(shape[1], (number,), generator=generator), logits.argmax(1))
    return scale * logits, target


def validated(task, logits, target, *callbacks, **options):
    trainer = toys.quiet(list(callbacks), **options)
    trainer.validate(AsGiven(task), DataLoader(TensorDataset(logits, target), batch_size=32), verbose=False)
    return trainer


@pytest.mark.parametrize("scale", [0.3, 1.0, 300.0, 1e4, 1e9])
@pytest.mark.parametrize("task", TASKS)
def test_calibration_and_metrics_have_the_same_figures_for_logits_of_any_size(task, scale):
    logits, target = rows(task, scale)
    trainer = validated(task, logits, target, Calibration(), ClassificationMetrics(log=SHARED))
    found = {name: value.item() for name, value in trainer.callback_metrics.items()}
    for name in SHARED:
        assert found[f"val/calibration/{name}"] == pytest.approx(found[f"val/{name}"], rel=1e-6), name
    assert found["val/log_loss"] == pytest.approx(found["val/loss"], rel=1e-4)


def test_the_error_of_a_binary_task_is_torchmetrics():
    logits, target = rows("binary")
    metrics = ClassificationMetrics()
    validated("binary", logits, target, metrics)
    theirs = tm.binary_calibration_error(logits.sigmoid(), target, n_bins=15).item()
    assert metrics.results["val"]["ece"] == pytest.approx(theirs, abs=1e-6)


@pytest.mark.parametrize("task", ["multiclass", "binary"])
def test_probabilities_on_the_edges_of_bins_are_binned_alike(task):
    steps = torch.tensor([0.2, 0.4, 0.6, 0.8]).repeat(50)
    chance = steps if task == "binary" else torch.stack([steps, 1 - steps], 1)
    chance = chance if task == "binary" else torch.cat([0.5 * chance, 0.5 * chance], 1)
    target = (torch.arange(200) % 3 == 0).long()

    class Squashed(AsGiven):
        def step(self, batch, stage):
            return {"probabilities": self(batch[0])}

    calibration = Calibration(task=task, scores="probabilities")
    metrics = ClassificationMetrics(task=task, scores="probabilities")
    module = Squashed(task)
    data = DataLoader(TensorDataset(chance, target), batch_size=32)
    toys.quiet([calibration, metrics]).validate(module, data, verbose=False)
    assert calibration.results["val"].before.ece == pytest.approx(metrics.results["val"]["ece"], abs=1e-7)


def test_a_loss_too_large_for_a_probability_is_the_true_one_and_so_is_what_is_said_of_it():
    logits = torch.tensor([[0.0, 700.0], [0.0, 5000.0], [9000.0, 0.0]]).repeat(20, 1)
    target = torch.tensor([0, 0, 0]).repeat(20)
    found = ScoreRows(logits, target, len(target))
    before = report_before(found, "multiclass", bins=15)
    assert before.before.log_loss == pytest.approx(F.cross_entropy(logits.double(), target).item())
    report = report_applied(before, TemperatureScaling(100.0, "multiclass"), found, bins=15)
    assert report.after.log_loss == pytest.approx(F.cross_entropy(logits.double() / 100, target).item(), rel=1e-6)
    assert not any("worse" in note for note in report.notes)


def test_a_class_that_is_ruled_out_costs_the_same_in_both():
    logits = torch.zeros(40, 3)
    logits[:, 2] = -torch.inf
    target = torch.arange(40) % 3
    metrics, calibration = ClassificationMetrics(), Calibration()
    module = AsGiven("multiclass")
    module.step = lambda batch, stage: {"logits": module(batch[0])}
    data = DataLoader(TensorDataset(logits, target), batch_size=8)
    with pytest.warns(UserWarning, match="gave their own class probability 0"):
        toys.quiet([metrics, calibration]).validate(module, data, verbose=False)
    expected = torch.tensor(2.0).log().item() * 27 / 40 + LARGEST_LOSS * 13 / 40
    assert metrics.results["val"]["log_loss"] == pytest.approx(expected)
    assert calibration.results["val"].before.log_loss == pytest.approx(expected)


def test_the_sum_of_many_huge_losses_does_not_overflow():
    logits = torch.zeros(4096, 2)
    logits[:, 1] = 1e11
    metrics = ClassificationMetrics(curves=False)
    validated("two classes", logits, torch.zeros(4096, dtype=torch.int64), metrics)
    assert metrics.results["val"]["log_loss"] == pytest.approx(1e11)


@pytest.mark.parametrize("first", [True, False])
def test_a_figure_of_both_is_charted_once_and_can_be_monitored_under_both_names(first, tmp_path):
    both = [Calibration(), ClassificationMetrics()]
    stop = EarlyStopping("val/calibration/ece", patience=0)
    logger = CSVLogger(tmp_path)
    trainer = toys.quiet([stop, *(both if first else both[::-1])], logger=logger)
    trainer.fit(toys.Net(), toys.loader(), toys.loader())
    charted = (tmp_path / "lightning_logs/version_0/metrics.csv").read_text().splitlines()[0].split(",")
    assert {"val/ece", "val/log_loss", "val/calibration/brier", "val/calibration/ece_calibrated"} <= set(charted)
    assert not {"val/calibration/ece", "val/calibration/log_loss"} & set(charted)
    assert trainer.callback_metrics["val/calibration/ece"] == pytest.approx(trainer.callback_metrics["val/ece"].item())
    assert stop.stopped_epoch == 0
    assert stop.best_score == trainer.callback_metrics["val/calibration/ece"]


@pytest.mark.parametrize(
    "beside",
    [None, {"log": ["accuracy"]}, {"stages": ["test"]}, {"num_classes": 4}],
    ids=["alone", "not logged", "another stage", "another reading"],
)
def test_what_no_other_callback_logs_is_charted(beside, tmp_path):
    others = [] if beside is None else [ClassificationMetrics(**beside)]
    trainer = toys.quiet([Calibration(), *others], logger=CSVLogger(tmp_path))
    trainer.fit(toys.Net(), toys.loader(), toys.loader())
    charted = (tmp_path / "lightning_logs/version_0/metrics.csv").read_text().splitlines()[0].split(",")
    assert {f"val/calibration/{name}" for name in SHARED} <= set(charted)
