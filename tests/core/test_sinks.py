"""What every sink keeps: a new one is covered by a line in ``SINKS``."""

import csv
import io
import os

import fsspec
import numpy as np
import pytest
import torch
from PIL import Image as PILImage
from PIL import JpegImagePlugin
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.tensorboard import SummaryWriter

from lightning_posttrain.core.output.artifacts import File, Image, Table
from lightning_posttrain.core.output.sinks.encode import encoded
from lightning_posttrain.core.output.sinks.find import sinks_of
from lightning_posttrain.core.output.sinks.folder import FolderSink
from lightning_posttrain.core.output.sinks.tensorboard import TensorBoardSink

PIXELS = torch.randint(256, (5, 7, 3), dtype=torch.uint8)
TABLE = Table(("class", "F1"), (("a|b", 0.123456789), ("ü", float("nan"))), "A note.")
ARTIFACTS = [Image(PIXELS), Image(PIXELS, photo=True), encoded(Image(PIXELS)), TABLE, File(b"{}", ".json")]
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
    for artifact in (Image(PIXELS), TABLE, File(b"{}", ".json")):
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
    sink.write("val/thing", Image(PIXELS), 3)
    sink.write("val/table", TABLE, 3)
    writer.close()
    events = EventAccumulator(str(tmp_path)).Reload()
    (image,) = events.Images("val/thing")
    assert (image.step, image.width, image.height) == (3, 7, 5)
    np.testing.assert_array_equal(decoded(image.encoded_image_string), PIXELS.numpy())
    (text,) = events.Tensors("val/table")
    said = text.tensor_proto.string_val[0].decode()
    assert "| a\\|b | 0.1235 |" in said
    assert "| ü | – |" in said
    assert said.endswith("A note.")


def decoded(content):
    return np.asarray(PILImage.open(io.BytesIO(content)))


def smooth(height=48, width=64):
    """Colours that change slowly, as in a photograph."""
    down, across = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([down * 5, across * 3, (down + across) * 2], dim=2).to(torch.uint8)


def test_a_photograph_is_jpeg_with_all_colours_in_the_folder_and_in_tensorboard(tmp_path):
    photo = Image(smooth(), photo=True)
    writer = SummaryWriter(str(tmp_path / "board"))
    for sink in (FolderSink(tmp_path), TensorBoardSink(writer)):
        sink.write("val/photo", photo, 3)
    writer.close()
    content = (tmp_path / "val" / "photo.jpg").read_bytes()
    (event,) = EventAccumulator(str(tmp_path / "board")).Reload().Images("val/photo")
    assert event.encoded_image_string == content
    assert (event.step, event.width, event.height) == (3, 64, 48)
    opened = PILImage.open(io.BytesIO(content))
    assert opened.format == "JPEG"
    assert JpegImagePlugin.get_sampling(opened) == 0  # 4:4:4
    assert np.abs(decoded(content).astype(int) - photo.pixels.numpy()).max() <= 12
    assert len(list((tmp_path / "val").iterdir())) == 1


@pytest.mark.parametrize("place", ["files", "memory://bucket/photos"])
@pytest.mark.parametrize("first", [True, False])
def test_a_picture_that_changes_its_format_leaves_no_older_file(place, first, tmp_path):
    sink = FolderSink(place)
    sink.write("val/thing", File(b"{}", ".json"), 0)
    for photo in (first, not first):
        sink.write("val/thing", Image(PIXELS, photo=photo), 0)
        system, path = fsspec.core.url_to_fs(place)
        names = {name.rsplit("/", 1)[1] for name in system.ls(f"{path}/val", detail=False)}
        assert names == {"thing.json", "thing.jpg" if photo else "thing.png"}


def test_the_older_format_stays_where_the_new_one_cannot_be_written(tmp_path, monkeypatch):
    FolderSink(tmp_path).write("val/thing", Image(PIXELS), 0)

    def fail(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.replace", fail)
    with pytest.raises(OSError, match="No space"):
        FolderSink(tmp_path).write("val/thing", Image(PIXELS, photo=True), 1)
    assert [path.name for path in (tmp_path / "val").iterdir()] == ["thing.png"]


def test_a_picture_is_encoded_once_for_all_sinks(tmp_path, monkeypatch):
    saved = []
    save = PILImage.Image.save
    monkeypatch.setattr(PILImage.Image, "save", lambda *args, **options: saved.append(1) or save(*args, **options))
    writer = SummaryWriter(str(tmp_path / "board"))
    image = Image(PIXELS)
    for sink in (FolderSink(tmp_path), TensorBoardSink(writer)):
        sink.write("val/thing", image, 0)
    writer.close()
    assert len(saved) == 1


def test_an_experiment_without_a_file_writer_gets_pixels():
    class Experiment:
        def add_image(self, tag, pixels, step, dataformats):
            self.seen = tag, pixels.shape, step, dataformats

    for picture in (Image(PIXELS, photo=True), encoded(Image(PIXELS))):
        experiment = Experiment()
        TensorBoardSink(experiment).write("val/photo", picture, 2)
        assert experiment.seen == ("val/photo", (5, 7, 3), 2, "HWC")


@pytest.mark.skipif(os.name != "posix", reason="permissions of Unix")
def test_files_have_the_permissions_that_any_new_file_has(tmp_path):
    FolderSink(tmp_path).write("thing", File(b"{}", ".json"), 0)
    (tmp_path / "other").touch()
    assert (tmp_path / "thing.json").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_what_is_for_files_only_is_in_the_folder_and_not_in_tensorboard(tmp_path):
    artifacts = {"val/pictures/01": Image(PIXELS, files_only=True), "val/all": Table(("x",), (), files_only=True)}
    writer = SummaryWriter(str(tmp_path / "board"))
    for sink in (FolderSink(tmp_path), TensorBoardSink(writer)):
        for tag, artifact in artifacts.items():
            sink.write(tag, artifact, 0)
    writer.close()
    tags = EventAccumulator(str(tmp_path / "board")).Reload().Tags()
    assert not tags["images"]
    assert not tags["tensors"]
    assert (tmp_path / "val" / "pictures" / "01.png").exists()
    assert (tmp_path / "val" / "all.csv").exists()


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


def test_what_is_not_nothing_does_not_read_as_nothing():
    class Experiment:
        def add_text(self, tag, text, step):
            self.said = text

    experiment = Experiment()
    TensorBoardSink(experiment).write("val/t", Table(("a", "b", "c", "d"), ((6e-7, 0.0, 0.00005, float("nan")),)), 0)
    assert "| 6.0e-07 | 0.0000 | 0.0001 | – |" in experiment.said


def test_names_that_a_file_system_takes_for_the_same_stay_apart(tmp_path):
    sink = FolderSink(tmp_path)
    for tag in ("x:y", "x?y", "nul", "a.", "a", "long" * 200):
        sink.write(tag, File(tag.encode(), ".json"), 0)
    assert {path.read_bytes().decode() for path in tmp_path.glob("*.json")} == {
        "x:y",
        "x?y",
        "nul",
        "a.",
        "a",
        "long" * 200,
    }
    assert not (tmp_path / "nul.json").exists()


def test_a_folder_may_be_one_that_fsspec_knows():
    FolderSink("memory://bucket/run").write("val/thing", File(b"{}", ".json"), 0)
    assert fsspec.filesystem("memory").cat("/bucket/run/val/thing.json") == b"{}"


def test_sinks_are_found_by_what_a_logger_can_do():
    class Board:
        def add_image(self, *args, **options): ...
        def add_text(self, *args): ...

    class Logger:
        def __init__(self, experiment):
            self.experiment = experiment

    found = [sink for logger in (Logger(Board()), Logger(object()), object()) for sink in sinks_of(logger)]
    assert [type(sink) for sink in found] == [TensorBoardSink]
