"""A whole run in a real TensorBoard logger."""

from pathlib import Path

import pytest
from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_posttrain import posttrain_suite
from tests import toys


@pytest.fixture(scope="module")
def events(tmp_path_factory):
    logger = TensorBoardLogger(tmp_path_factory.mktemp("run"))
    trainer = toys.quiet(posttrain_suite(on_error="raise"), logger=logger, max_epochs=3, log_every_n_steps=1)
    trainer.fit(toys.Net(), toys.loader(), toys.loader())
    trainer.test(toys.Net(), toys.loader(), verbose=False)
    found = {"images": {}, "tensors": {}, "scalars": {}}
    for path in Path(logger.log_dir).glob("events*"):
        accumulator = EventAccumulator(str(path), {"images": 0, "tensors": 0, "scalars": 0}).Reload()
        for kind, get in (
            ("images", accumulator.Images),
            ("tensors", accumulator.Tensors),
            ("scalars", accumulator.Scalars),
        ):
            for tag in accumulator.Tags()[kind]:
                found[kind].setdefault(tag, []).extend(event.step for event in get(tag))
    return found


@pytest.mark.parametrize(
    "picture", ["confusion_matrix", "confusion_matrix_normalized", "roc_curve", "precision_recall_curve", "saliency"]
)
def test_pictures_stand_at_the_steps_of_the_scalars(events, picture):
    # at the end of fit the maps of its last step come once more, with those that took longer
    steps = [3, 7, 11, 11] if picture == "saliency" else [3, 7, 11]
    assert events["images"][f"val/{picture}"] == steps
    assert events["scalars"]["val/accuracy"] == [3, 7, 11]
    assert events["images"][f"test/{picture}"] == events["scalars"]["test/accuracy"] == [12]


def test_tables_are_text_under_their_own_tags(events):
    for table in ("classification_report", "summary", "confused_pairs", "areas_under_curves", "saliency_samples"):
        steps = [3, 7, 11, 11] if table == "saliency_samples" else [3, 7, 11]
        assert events["tensors"][f"val/{table}"] == steps


def test_scalars_of_each_class_and_of_the_users_own_step_are_there(events):
    assert {"val/loss", "val/f1_macro", "val/auroc_macro"} <= set(events["scalars"])


def test_tensorboards_own_curves_have_the_raw_counts(events):
    for k in range(toys.CLASSES):
        assert events["tensors"][f"val/pr_curve/{k}"] == [3, 7, 11]
