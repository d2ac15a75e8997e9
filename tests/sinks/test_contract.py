"""What every sink keeps: a new one is covered by a line in ``SINKS``."""

import csv

import numpy as np
import pytest
import torch
from PIL import Image as PILImage
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.tensorboard import SummaryWriter

from lightning_posttrain.artifacts import File, Image, Table
from lightning_posttrain.sinks import FolderSink, TensorBoardSink, find_sinks

PIXELS = torch.randint(256, (5, 7, 3), dtype=torch.uint8)
TABLE = Table(("class", "F1"), (("a|b", 0.123456789), ("ü", float("nan"))), "A note.")
ARTIFACTS = [Image(PIXELS), TABLE, File(b"{}", ".json")]
SINKS = [FolderSink, lambda folder: TensorBoardSink(SummaryWriter(str(folder)))]


@pytest.mark.parametrize("make", SINKS)
@pytest.mark.parametrize("artifact", ARTIFACTS, ids=lambda artifact: type(artifact).__name__)
def test_every_artifact_can_be_written_under_any_tag_twice(make, artifact, tmp_path):
    sink = make(tmp_path)
    for tag in ("val/thing", "val/with:odd*?characters/dataloader_1", "val/../../outside"):
        for step in (0, 1):
            sink.write(tag, artifact, step)
    assert not (tmp_path.parent / "outside.json").exists()


def test_files_hold_what_was_written(tmp_path):
    sink = FolderSink(tmp_path)
    for artifact in ARTIFACTS:
        sink.write("val/thing", artifact, 3)
    np.testing.assert_array_equal(np.asarray(PILImage.open(tmp_path / "val" / "thing.png")), PIXELS.numpy())
    with (tmp_path / "val" / "thing.csv").open(encoding="utf-8", newline="") as file:
        assert list(csv.reader(file)) == [["class", "F1"], ["a|b", "0.123456789"], ["ü", "nan"]]
    assert (tmp_path / "val" / "thing.json").read_bytes() == b"{}"


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    sink = FolderSink(tmp_path)
    sink.write("val/thing", File(b"old", ".json"), 0)

    def fail(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.replace", fail)
    with pytest.raises(OSError, match="No space"):
        sink.write("val/thing", File(b"new", ".json"), 1)
    assert [path.name for path in (tmp_path / "val").iterdir()] == ["thing.json"]
    assert (tmp_path / "val" / "thing.json").read_bytes() == b"old"


def test_tensorboard_gets_pixels_and_markdown(tmp_path):
    writer = SummaryWriter(str(tmp_path))
    sink = TensorBoardSink(writer)
    for artifact in ARTIFACTS:
        sink.write("val/thing", artifact, 3)
        sink.write("val/table", artifact, 3) if isinstance(artifact, Table) else None
    writer.close()
    events = EventAccumulator(str(tmp_path)).Reload()
    (image,) = events.Images("val/thing")
    assert (image.step, image.width, image.height) == (3, 7, 5)
    (text,) = events.Tensors("val/table")
    said = text.tensor_proto.string_val[0].decode()
    assert "| a\\|b | 0.1235 |" in said
    assert "| ü | – |" in said
    assert said.endswith("A note.")


def test_a_long_table_says_where_the_rest_is():
    class Experiment:
        def add_text(self, tag, text, step):
            self.said = text

    experiment = Experiment()
    long = Table(("class",), tuple((i,) for i in range(250)))
    TensorBoardSink(experiment).write("val/t", long, 0)
    assert "150 more rows stand in the CSV file." in experiment.said
    assert "| 99 |" in experiment.said
    assert "| 100 |" not in experiment.said


def test_names_that_a_file_system_takes_for_the_same_stay_apart(tmp_path):
    sink = FolderSink(tmp_path)
    for tag in ("x:y", "x?y", "nul", "a.", "a", "long" * 200):
        sink.write(tag, File(tag.encode(), ".json"), 0)
    assert {path.read_bytes().decode() for path in tmp_path.iterdir()} == {"x:y", "x?y", "nul", "a.", "a", "long" * 200}
    assert not (tmp_path / "nul.json").exists()


def test_a_folder_may_be_one_that_fsspec_knows():
    fsspec = pytest.importorskip("fsspec")
    FolderSink("memory://bucket/run").write("val/thing", File(b"{}", ".json"), 0)
    assert fsspec.filesystem("memory").cat("/bucket/run/val/thing.json") == b"{}"


def test_sinks_are_found_by_what_a_logger_can_do(tmp_path):
    class Board:
        def add_image(self, *args, **options): ...
        def add_text(self, *args): ...

    class Logger:
        def __init__(self, experiment):
            self.experiment = experiment

    found = find_sinks([Logger(Board()), Logger(object()), object()], str(tmp_path))
    assert [type(sink) for sink in found] == [FolderSink, TensorBoardSink]
