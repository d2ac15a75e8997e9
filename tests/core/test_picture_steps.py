"""Loggers get about 20 steps of pictures, the first and the last among them; files are always the latest."""

import json
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_posttrain import (
    Calibration,
    ConfusionMatrix,
    DecisionThresholds,
    SaliencyMaps,
    ScoreCurves,
    posttrain_suite,
)
from lightning_posttrain.core.output.artifacts import Cleared, Image, Tagged
from lightning_posttrain.core.output.picture_steps import PictureSteps
from tests import toys
from tests.core.test_background import At, Shown

pytestmark = pytest.mark.slow


def chosen(reports, every=None, progress=lambda number: None):
    steps = PictureSteps()
    return [number for number in range(reports) if steps.chosen("a", every, progress(number))]


@pytest.mark.parametrize("epochs", [1, 2, 7, 19, 20, 21, 30, 39, 40, 100, 999, 1000])
def test_over_a_known_length_about_20_are_spread_evenly(epochs):
    found = chosen(epochs, progress=lambda epoch: (epoch + 1) / epochs)
    assert found[0] == 0
    assert len(found) == min(epochs, 20) or (len(found) == 21 and epochs > 20)
    gaps = [after - before for before, after in pairwise(found)]
    assert max(gaps, default=1) - min(gaps[1:], default=1) <= 1


def test_where_callbacks_report_seldom_none_of_theirs_is_missed():
    steps = PictureSteps()
    late = [epoch for epoch in range(4, 100, 10) if steps.chosen("a", None, (epoch + 1) / 100)]
    assert late == list(range(4, 100, 10))


def test_over_an_unknown_length_the_distance_doubles():
    found = chosen(200)
    assert found == [*range(20), *range(20, 40, 2), *range(40, 80, 4), *range(80, 160, 8), *range(160, 200, 16)]


def test_every_is_taken_at_its_word():
    assert chosen(10, every=1) == list(range(10))
    assert chosen(10, every=4) == [0, 4, 8]


def test_each_tag_has_its_own():
    steps = PictureSteps()
    assert [steps.chosen(tag, 2, None) for tag in "aabb"] == [True, False, True, False]


# in a run


def events(folder, kinds=("images", "tensors", "scalars")):
    accumulator = EventAccumulator(str(folder), {"images": 0, "tensors": 0, "scalars": 0}).Reload()
    gets = {"images": accumulator.Images, "tensors": accumulator.Tensors, "scalars": accumulator.Scalars}
    tags = accumulator.Tags()
    return {tag: [e.step for e in gets[kind](tag)] for kind in kinds for tag in tags[kind]}


def fitted(tmp_path, callbacks, **options):
    logger = TensorBoardLogger(tmp_path, name="board")
    small = toys.loader(toys.images(8), 8)
    trainer = toys.quiet(callbacks, logger=logger, log_every_n_steps=1, **options)
    trainer.fit(toys.Net(), small, small)
    return events(logger.log_dir), Path(logger.log_dir) / "posttrain"


def test_a_long_fit_has_20_steps_of_pictures_and_tables_and_all_of_scalars(tmp_path):
    found, folder = fitted(tmp_path, ConfusionMatrix(on_error="raise"), max_epochs=50)
    pictures, tables = found["val/confusion_matrix"], found["val/confused_pairs"]
    assert pictures == tables
    assert (pictures[0], pictures[-1]) == (0, 49)
    assert 20 <= len(pictures) <= 22
    assert found["val/loss"] == list(range(50))
    assert json.loads((folder / "val" / "confusion_matrix.json").read_text())["epoch"] == 49


@pytest.mark.parametrize("failed", [True, False])
def test_the_last_is_there_where_the_run_ends_before_its_time(failed, tmp_path):
    def end(trainer):
        if trainer.current_epoch == 10 and failed:
            raise RuntimeError("the run's own")
        trainer.should_stop = trainer.current_epoch == 10

    drawn = [kind(on_error="raise") for kind in (ConfusionMatrix, ScoreCurves, Calibration, DecisionThresholds)]
    callbacks = [*drawn, At("on_train_epoch_end", end)]
    if failed:
        with pytest.raises(RuntimeError, match="own"):
            fitted(tmp_path, callbacks, max_epochs=1000)
    else:
        fitted(tmp_path, callbacks, max_epochs=1000)
    found = events(tmp_path / "board" / "version_0", ["images"])
    for tag in ("confusion_matrix", "roc_curve", "calibration/reliability", "thresholds/risk_coverage"):
        assert found[f"val/{tag}"] == [0, 10]


def test_a_picture_that_went_is_not_shown_at_the_end(tmp_path):
    class Passing(Shown):
        def show(self, result, title):
            epoch = self.epochs[result]
            picture = Image(torch.full((2, 2, 3), epoch, dtype=torch.uint8))
            yield Tagged("passing", picture if epoch < 5 else Cleared())
            if epoch < 6:
                yield Tagged("early", picture)
            yield Tagged("staying", picture)

    found, _ = fitted(tmp_path, Passing(lambda: None, on_error="raise", pictures_every=100), max_epochs=9)
    assert found["val/passing"] == [0]
    assert found["val/early"] == [0, 5]
    assert found["val/staying"] == [0, 8]


def test_what_was_shown_at_the_last_report_is_not_shown_twice(tmp_path):
    found, _ = fitted(tmp_path, ConfusionMatrix(pictures_every=2), max_epochs=5)
    assert found["val/confusion_matrix"] == [0, 2, 4]


@pytest.mark.slow
def test_every_1_shows_all_and_the_suite_hands_it_on(tmp_path):
    every = posttrain_suite(pictures_every=1, max_overhead=None)
    suite = [member for member in every if not isinstance(member, SaliencyMaps)]
    found, _ = fitted(tmp_path, suite, max_epochs=30)
    for tag in ("val/confusion_matrix", "val/roc_curve", "val/calibration/reliability"):
        assert found[tag] == list(range(30))


def test_several_validations_an_epoch_are_thinned_out_as_well(tmp_path):
    logger = TensorBoardLogger(tmp_path, name="board")
    trainer = toys.quiet(ConfusionMatrix(on_error="raise"), logger=logger, max_epochs=3, val_check_interval=1)
    trainer.fit(toys.Net(), toys.loader(toys.images(40), 2), toys.loader(toys.images(8), 8))
    found = events(logger.log_dir)["val/confusion_matrix"]
    assert 18 <= len(found) <= 22
    assert (found[0], found[-1]) == (0, 59)


@pytest.mark.parametrize("limit", [{"max_epochs": -1, "max_steps": 45}, {"max_epochs": 45}])
def test_steps_limit_a_run_as_epochs_do(limit, tmp_path):
    found, _ = fitted(tmp_path, ConfusionMatrix(on_error="raise"), **limit)
    assert 20 <= len(found["val/confusion_matrix"]) <= 22
    assert found["val/confusion_matrix"][-1] == 44


def test_validation_and_test_by_themselves_are_always_shown(tmp_path):
    logger = TensorBoardLogger(tmp_path, name="board")
    trainer = toys.quiet(ConfusionMatrix(pictures_every=5), logger=logger)
    for _ in range(2):
        trainer.validate(toys.Net(), toys.loader(), verbose=False)
    trainer.test(toys.Net(), toys.loader(), verbose=False)
    found = events(logger.log_dir)
    assert len(found["val/confusion_matrix"]) == 2
    assert len(found["test/confusion_matrix"]) == 1


def test_fewer_than_one_is_refused():
    with pytest.raises(ValueError, match="`pictures_every` is 0, wanted at least 1"):
        ConfusionMatrix(pictures_every=0)
