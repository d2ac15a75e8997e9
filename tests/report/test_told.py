"""What a run writes and says last: a line for the terminal, a summary and the curves at a glance for loggers."""

import logging
import re
from pathlib import Path

import pytest
from lightning.pytorch import LightningModule
from lightning.pytorch.loggers import TensorBoardLogger
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_posttrain import ClassificationMetrics, ConfusionMatrix, GeneralizationGap, SaliencyMaps, posttrain_suite
from lightning_posttrain.report import closing
from tests import toys


def callbacks():
    return [ClassificationMetrics(on_error="raise"), ConfusionMatrix(), GeneralizationGap()]


def lines(caplog):
    return [record.getMessage() for record in caplog.records if "→" in record.getMessage()]


@pytest.fixture
def said(caplog):
    caplog.set_level(logging.INFO)
    return caplog


def test_a_fit_and_a_test_end_with_one_line_of_words_and_the_path_of_the_page(said, tmp_path):
    trainer, module = toys.quiet(callbacks(), max_epochs=2), toys.Net()
    for run, stage in ((trainer.fit, "val"), (trainer.test, "test")):
        said.clear()
        options = {"verbose": False} if stage == "test" else {"val_dataloaders": toys.loader()}
        run(module, toys.loader(), **options)
        (line,) = lines(said)
        words, path = line.split(" → ")
        right = re.fullmatch(rf"{stage}: (\d+) of 37 right \(.*\).*", words)
        result = trainer.callbacks[0].results[stage]
        assert int(right[1]) == round(float(result["accuracy"]) * 37)
        assert Path(path) == tmp_path / "posttrain" / stage / "report.html"
        assert Path(path).is_file()


def test_the_folder_is_named_where_there_is_no_page(said, monkeypatch, tmp_path):
    monkeypatch.setattr(closing, "artifacts", lambda *_: ())
    toys.quiet(callbacks()).test(toys.Net(), toys.loader(), verbose=False)
    (line,) = lines(said)
    assert line.endswith(f"→ {tmp_path / 'posttrain' / 'test'}")


def test_a_validation_by_itself_says_nothing(said):
    toys.quiet(callbacks()).validate(toys.Net(), toys.loader(), verbose=False)
    assert lines(said) == []


def test_a_run_that_fails_says_nothing(said):
    class Fails(toys.Net):
        def on_train_epoch_end(self):
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        toys.quiet(callbacks(), max_epochs=2).fit(Fails(), toys.loader(), toys.loader())
    assert lines(said) == []


def test_a_fast_dev_run_says_nothing(said):
    toys.quiet(callbacks(), fast_dev_run=True).fit(toys.Net(), toys.loader(), toys.loader())
    assert lines(said) == []


def test_what_cannot_be_made_is_said_and_costs_no_run(said, monkeypatch):
    def fail(*_):
        raise OSError("no page today")

    monkeypatch.setattr(closing, "artifacts", fail)
    metrics = ClassificationMetrics()
    with pytest.warns(UserWarning, match="no page today"):
        toys.quiet([metrics]).test(toys.Net(), toys.loader(), verbose=False)
    assert "test" in metrics.results
    assert len(lines(said)) == 1


def test_it_says_its_line_without_class_scores(said):
    toys.quiet(SaliencyMaps(explain=lambda out, _: out.sum(1))).test(toys.Net(), toys.loader(), verbose=False)
    (line,) = lines(said)
    assert line.startswith("test: ")


class Tuned(toys.Net):
    """Hyperparameters that are saved, and a training that is logged."""

    def __init__(self, rate: float = 0.1, kind: str = "plain") -> None:
        super().__init__()
        self.save_hyperparameters()

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        self.log("train/loss", loss, on_step=True, on_epoch=True)
        return loss


@pytest.fixture(scope="module")
def board(tmp_path_factory):
    """What TensorBoard has of a run, by the kind of its pages; the files of the run."""
    logger = TensorBoardLogger(tmp_path_factory.mktemp("run"))
    trainer = toys.quiet(
        [*posttrain_suite(on_error="raise"), GeneralizationGap()], logger=logger, max_epochs=3, log_every_n_steps=1
    )
    module: LightningModule = Tuned()
    trainer.fit(module, toys.loader(), toys.loader())
    trainer.test(module, toys.loader(), verbose=False)
    sizes = {"images": 0, "tensors": 0, "scalars": 0}
    return EventAccumulator(logger.log_dir, sizes).Reload(), Path(logger.log_dir) / "posttrain"


def test_the_summary_comes_first_among_texts_and_images(board):
    events, _ = board
    tags = events.Tags()
    assert sorted(tags["images"])[0] == "0_summary/training_at_a_glance"
    texts = sorted(tag for tag in tags["tensors"] if tag.count("/") and not tag.startswith("_"))
    assert texts[:2] == ["0_summary/test", "0_summary/val"]
    (tensor,) = events.Tensors("0_summary/test")
    text = tensor.tensor_proto.string_val[0].decode()
    assert "of 37 rows are right" in text
    assert "report.html" in text


def test_the_curves_at_a_glance_stand_on_disk_too(board):
    _, home = board
    with Image.open(home / "results.png") as picture:
        assert picture.size == (960, 640)
    assert not (home / "0_summary").exists()


def test_scalars_that_belong_together_share_a_chart(board):
    from tensorboard.plugins.custom_scalar import layout_pb2

    events, _ = board
    found = layout_pb2.Layout()
    (tensor,) = events.Tensors("custom_scalars__config__")
    found.ParseFromString(tensor.tensor_proto.string_val[0])
    charts = {
        group.title: {chart.title: list(chart.multiline.tag) for chart in group.chart} for group in found.category
    }
    assert charts["training with validation"]["loss"] == ["^train/loss_epoch$", "^val/loss$"]
    assert charts["before with after calibration"]["ece"] == ["^val/ece$", "^val/calibration/ece_calibrated$"]
    scalars = events.Tags()["scalars"]
    patterns = [tag for of in charts.values() for tags in of.values() for tag in tags]
    assert [tag for tag in patterns if not any(re.fullmatch(tag, name) for name in scalars)] == []


def test_hyperparameters_stand_beside_what_is_final_and_not_beside_minus_one(board):
    from tensorboard.plugins.hparams import metadata, plugin_data_pb2

    events, _ = board
    content = events.SummaryMetadata(metadata.EXPERIMENT_TAG).plugin_data.content
    experiment = plugin_data_pb2.HParamsPluginData.FromString(content).experiment
    assert {info.name for info in experiment.hparam_infos} == {"rate", "kind"}
    tags = [info.name.tag for info in experiment.metric_infos]
    assert {"val/accuracy", "val/log_loss", "test/accuracy", "test/log_loss"} <= set(tags)
    assert "hp_metric" not in tags
    assert set(tags) <= set(events.Tags()["scalars"])
    session = events.SummaryMetadata(metadata.SESSION_START_INFO_TAG).plugin_data.content
    start = plugin_data_pb2.HParamsPluginData.FromString(session).session_start_info
    assert start.hparams["rate"].number_value == 0.1


@pytest.mark.parametrize("own", [True, False])
def test_a_logger_that_was_told_of_no_metric_and_a_module_without_parameters_are_left_alone(own, tmp_path):
    from tensorboard.plugins.hparams import metadata

    logger = TensorBoardLogger(tmp_path, default_hp_metric=own)
    module = toys.Net() if own else Tuned()
    toys.quiet(callbacks(), logger=logger).fit(module, toys.loader(), toys.loader())
    tags = EventAccumulator(logger.log_dir).Reload()
    with pytest.raises(KeyError):
        tags.SummaryMetadata(metadata.EXPERIMENT_TAG)


TAGS = {
    "scalars": {
        "epoch", "hp_metric", "train/loss_epoch", "train/loss_step", "gap/accuracy", "gap/log_loss",
        *(
            f"{stage}/{name}"
            for stage in ("val", "test")
            for name in (
                "loss", "accuracy", "balanced_accuracy", "f1_macro", "auroc_macro", "log_loss", "ece",
                "calibration/brier", "calibration/ece_calibrated", "calibration/temperature", "thresholds/aurc",
            )
        ),
    },
}  # fmt: skip


def test_a_default_suite_charts_these_scalars_and_no_others(board):
    events, _ = board
    assert set(events.Tags()["scalars"]) == TAGS["scalars"]


def test_pr_curves_are_of_all_classes_where_these_are_many(tmp_path):
    logger = TensorBoardLogger(tmp_path)
    module = toys.Net(classes=6)
    toys.quiet(posttrain_suite(on_error="raise"), logger=logger).test(
        module, toys.loader(toys.images(60, classes=6)), verbose=False
    )
    events = EventAccumulator(logger.log_dir).Reload()
    assert [tag for tag in events.Tags()["tensors"] if "pr_curve" in tag] == ["test/pr_curve_of_all"]
