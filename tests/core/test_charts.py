"""What loggers and the printed table of a test get by default, what can be chosen, and what can be monitored."""

import pytest
from lightning.pytorch.callbacks import ModelCheckpoint

from lightning_posttrain import Calibration, ClassificationMetrics, SaliencyMaps, posttrain_suite
from tests import toys

METRICS = {"accuracy", "balanced_accuracy", "f1_macro", "auroc_macro", "log_loss", "ece"}
SUITE = {
    "loss",
    *METRICS,
    "calibration/brier",
    "calibration/ece_calibrated",
    "calibration/temperature",
    "thresholds/aurc",
}


def logged(callbacks):
    (found,) = toys.quiet(callbacks).test(toys.Net(), toys.loader(), verbose=False)
    return {name.removeprefix("test/") for name in found}


def test_a_default_suite_logs_about_ten_scalars():
    assert logged(posttrain_suite(on_error="raise")) == SUITE


def test_no_figure_is_logged_under_two_names():
    trainer = toys.quiet(posttrain_suite())
    (found,) = trainer.test(toys.Net(), toys.loader(), verbose=False)
    ours = {name: value for name, value in found.items() if name != "test/loss"}  # the module's own log loss
    assert len({round(value, 9) for name, value in ours.items() if "_calibrated" not in name}) == len(ours) - 1


@pytest.mark.parametrize(
    ("log", "gone", "more"),
    [
        (["*/border", "hirescam/*"], set(), {"hirescam/border", "saliency/border", "hirescam/entropy"}),
        (["calibration/ace"], {name for name in SUITE if "calibration" in name}, {"calibration/ace"}),
        (["per_class/recall/1"], METRICS, {"per_class/recall/1", "calibration/ece", "calibration/log_loss"}),
        ([], SUITE - {"loss"}, set()),
        ("*", {"calibration/brier"}, {"mcc", "brier", "per_class/f1/0", "calibration/mce", "hirescam/corners"}),
    ],
)  # fmt: skip
def test_the_suite_gives_each_callback_what_is_meant_for_it(log, gone, more):
    found = logged(posttrain_suite(log=log, on_error="raise"))
    assert more <= found
    assert not gone & found
    assert SUITE - gone <= found


def test_what_is_in_no_chart_can_be_monitored_by_checkpoints(tmp_path):
    for monitor in ("val/mcc", "val/f1_weighted", "val/calibration/ece", "val/calibration/ace_calibrated"):
        best = ModelCheckpoint(tmp_path / monitor, monitor=monitor)
        trainer = toys.quiet([*posttrain_suite(), best], enable_checkpointing=True)
        trainer.fit(toys.Net(), toys.loader(), toys.loader())
        assert float(best.best_model_score) == pytest.approx(float(trainer.callback_metrics[monitor]))
        assert monitor not in trainer.logged_metrics


def test_the_printed_table_has_only_what_is_logged(capsys):
    toys.quiet(posttrain_suite()).test(toys.Net(), toys.loader())
    printed = capsys.readouterr().out
    assert {name for name in SUITE if f"test/{name} " in printed} == SUITE
    assert "border" not in printed
    assert "f1_weighted" not in printed


def test_a_callback_alone_logs_what_no_other_does():
    assert logged(Calibration()) >= {"calibration/ece", "calibration/log_loss"}
    assert logged([Calibration(), ClassificationMetrics(log=["accuracy"])]) >= {"calibration/ece"}
    assert logged(SaliencyMaps()) == {"loss"}
    assert logged(SaliencyMaps(log="hirescam/b*")) == {"loss", "hirescam/border"}
