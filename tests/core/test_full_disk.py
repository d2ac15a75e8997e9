"""A full disk ends our pictures, not the user's run."""

import errno
import shutil
from pathlib import Path

import pytest
from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_posttrain import ConfusionMatrix, ScoreCurves
from lightning_posttrain.core.output.space import RESERVE, check_space
from tests import toys

MIB = 2**20


def disk(monkeypatch, free, total=100 * 2**30):
    """All disks are of one size, and ``free()`` of it is left."""
    usage = type(shutil.disk_usage("/"))
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage(total, total - free(), free()))


@pytest.mark.parametrize(
    ("free", "total", "enough"),
    [
        (RESERVE + 4000, 2**40, True),
        (RESERVE + 3999, 2**40, False),
        (MIB // 2 + 4000, 2 * MIB, True),  # a quarter of a small disk
        (MIB // 2 + 3999, 2 * MIB, False),
        (0, 2**40, False),
        (0, 0, True),  # cannot say
    ],
)
def test_a_reserve_and_four_times_what_is_written_must_be_free(free, total, enough, monkeypatch, tmp_path):
    disk(monkeypatch, lambda: free, total)
    if enough:
        check_space([str(tmp_path)], 1000)
    else:
        with pytest.raises(OSError, match="MiB left on the disk") as caught:
            check_space([str(tmp_path)], 1000)
        assert caught.value.errno == errno.ENOSPC


def test_the_disk_is_that_of_the_nearest_folder_that_is_there(monkeypatch, tmp_path):
    asked = []
    usage = shutil.disk_usage
    monkeypatch.setattr(shutil, "disk_usage", lambda place: asked.append(place) or usage(place))
    check_space([str(tmp_path / "not" / "yet"), "not/yet", "memory://bucket", None], 1)
    assert {Path(place).absolute() for place in asked} == {tmp_path}


def test_before_the_disk_is_full_pictures_end_once_said_and_the_run_goes_on(tmp_path, monkeypatch):
    logger = TensorBoardLogger(tmp_path, name="board")
    trainer = toys.quiet([ConfusionMatrix(), ScoreCurves()], logger=logger, max_epochs=6, log_every_n_steps=1)
    disk(monkeypatch, lambda: 10**9 if trainer.current_epoch < 2 else MIB)
    with pytest.warns(UserWarning, match="1.0 MiB left on the disk.*Nothing more is drawn or written") as caught:
        trainer.fit(toys.Net(), toys.loader(), toys.loader())
    assert sum("MiB left" in str(one.message) for one in caught) == 1
    found = EventAccumulator(logger.log_dir, {"images": 0, "scalars": 0}).Reload()
    assert {event.step for event in found.Images("val/roc_curve")} <= {3, 7, 11}
    assert [event.step for event in found.Scalars("val/loss")] == [4 * epoch + 3 for epoch in range(6)]


def test_a_full_disk_that_was_not_foreseen_ends_them_too(tmp_path, monkeypatch):
    replaced = []

    def refuse(path, target):
        replaced.append(target)
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    monkeypatch.setattr("pathlib.Path.replace", refuse)
    with pytest.warns(UserWarning, match="Disk quota exceeded.*Nothing more is drawn or written") as caught:
        toys.quiet([ConfusionMatrix(), ScoreCurves()], max_epochs=4).fit(toys.Net(), toys.loader(), toys.loader())
    assert sum("quota" in str(one.message) for one in caught) == 1
    assert len(replaced) == 1
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_the_next_run_tries_again(tmp_path, monkeypatch):
    trainer = toys.quiet(ConfusionMatrix())
    with monkeypatch.context() as patch:
        disk(patch, lambda: 0)
        with pytest.warns(UserWarning, match="MiB left"):
            trainer.validate(toys.Net(), toys.loader(), verbose=False)
    assert not (tmp_path / "posttrain").exists()
    trainer.validate(toys.Net(), toys.loader(), verbose=False)
    assert (tmp_path / "posttrain" / "val" / "confusion_matrix.png").exists()


def test_as_an_error_where_errors_are_asked_for(monkeypatch):
    disk(monkeypatch, lambda: 0)
    with pytest.raises(OSError, match="MiB left on the disk"):
        toys.quiet(ConfusionMatrix(on_error="raise")).validate(toys.Net(), toys.loader(), verbose=False)
