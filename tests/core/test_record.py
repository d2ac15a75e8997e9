"""The record of what was written: what is ours stays ours over runs, kills and copies; nothing else is."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import fsspec
import pytest
import torch

from lightning_posttrain import ConfusionMatrix
from lightning_posttrain.core.output.artifacts import Cleared, File, Image
from lightning_posttrain.core.output.sinks import record, runs
from lightning_posttrain.core.output.sinks.folder import FolderSink
from lightning_posttrain.core.output.sinks.record import NAME
from lightning_posttrain.core.output.sinks.runs import Run
from lightning_posttrain.core.output.sinks.stores import NotOurs
from tests import toys

PIXELS = torch.randint(256, (5, 7, 3), dtype=torch.uint8)


def text(content, suffix=".txt"):
    return File(content.encode(), suffix)


def lines(folder):
    return [json.loads(line) for line in (folder / NAME).read_text().splitlines()]


# what is ours


def test_a_file_that_somebody_else_wrote_is_neither_replaced_nor_deleted(tmp_path):
    (tmp_path / "a.txt").write_text("theirs")
    (tmp_path / "b.jpg").write_text("theirs")
    sink = FolderSink(tmp_path)
    with pytest.raises(NotOurs, match=r"a\.txt"):
        sink.write("a", text("ours"), 0)
    sink.write("b", Image(PIXELS), 0)
    sink.write("b", Cleared(), 0)
    assert {path.name for path in tmp_path.iterdir()} == {"a.txt", "b.jpg", NAME}
    assert (tmp_path / "a.txt").read_text() == (tmp_path / "b.jpg").read_text() == "theirs"


def test_a_file_that_somebody_changed_since_is_theirs(tmp_path):
    FolderSink(tmp_path).write("a", text("ours"), 0)
    (tmp_path / "a.txt").write_text("with a remark")
    with pytest.raises(NotOurs):
        FolderSink(tmp_path).write("a", text("newer"), 0)
    assert (tmp_path / "a.txt").read_text() == "with a remark"


def test_what_was_deleted_by_others_is_written_again(tmp_path):
    sink = FolderSink(tmp_path)
    for _ in range(2):
        sink.write("deep/a", text("ours"), 0)
        assert (tmp_path / "deep" / "a.txt").read_text() == "ours"
        shutil.rmtree(tmp_path / "deep")


def test_a_folder_that_goes_in_the_middle_of_a_run_is_made_again_with_its_record(tmp_path):
    sink = FolderSink(tmp_path / "run")
    sink.write("a", text("first"), 0)
    shutil.rmtree(tmp_path / "run")
    sink.write("b", text("second"), 0)
    FolderSink(tmp_path / "run").write("b", text("third"), 0)
    assert (tmp_path / "run" / "b.txt").read_text() == "third"


def test_a_later_run_replaces_and_deletes_what_an_earlier_one_wrote(tmp_path):
    for k in range(3):
        FolderSink(tmp_path).write(f"all/{k}", Image(PIXELS), 0)
    FolderSink(tmp_path).write("all", text("second"), 0)
    (tmp_path / "all" / "mine.png").write_bytes(b"theirs")
    FolderSink(tmp_path).write("all", Cleared(), 0)
    assert [path.name for path in (tmp_path / "all").iterdir()] == ["mine.png"]
    assert (tmp_path / "all.txt").exists()


def test_a_copy_of_the_folder_is_ours_as_well(tmp_path):
    FolderSink(tmp_path / "run").write("a", text("first"), 0)
    shutil.copytree(tmp_path / "run", tmp_path / "copy", copy_function=shutil.copyfile)
    FolderSink(tmp_path / "copy").write("a", text("second"), 0)
    assert (tmp_path / "copy" / "a.txt").read_text() == "second"


# a process that is killed


def test_a_write_that_was_cut_off_leaves_the_older_file_ours_and_nothing_half_written(tmp_path, monkeypatch):
    FolderSink(tmp_path).write("a", text("first"), 0)
    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.replace", lambda *args: os.kill(os.getpid(), signal.SIGKILL))
        if (child := os.fork()) == 0:
            FolderSink(tmp_path)._store.put("a.txt", b"cut off")
            os._exit(0)
        assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
    assert len(list(tmp_path.iterdir())) == 3  # with the file beside it
    FolderSink(tmp_path).write("b", text("later"), 0)
    assert {path.name for path in tmp_path.iterdir()} == {"a.txt", "b.txt", NAME}
    FolderSink(tmp_path).write("a", text("second"), 0)
    assert (tmp_path / "a.txt").read_text() == "second"


def test_a_line_that_was_cut_off_is_passed_over(tmp_path):
    FolderSink(tmp_path).write("a", text("first"), 0)
    with (tmp_path / NAME).open("a") as file:
        file.write('{"file": "b.tx')
    sink = FolderSink(tmp_path)
    sink.write("a", text("second"), 0)
    assert (tmp_path / "a.txt").read_text() == "second"


WRITES = """
import sys
from lightning_posttrain.core.output.artifacts import File
from lightning_posttrain.core.output.sinks.folder import FolderSink
sink = FolderSink(sys.argv[1])
for k in range(10**6):
    sink.write(f"deep/{k % 7}", File(str(k).encode() * 1000, ".txt"), k)
    print(k, flush=True)
"""


@pytest.mark.slow
def test_after_any_kill_each_file_is_whole_and_ours(tmp_path):
    for delay in (0.0, 0.01, 0.05, 0.1, 0.2):
        with subprocess.Popen([sys.executable, "-c", WRITES, str(tmp_path)], stdout=subprocess.PIPE) as child:
            child.stdout.readline()
            time.sleep(delay)
            child.kill()
        sink = FolderSink(tmp_path)
        for path in (tmp_path / "deep").glob("[0-9].txt"):
            content = path.read_bytes()
            assert content == content[: len(content) // 1000] * 1000
            sink.write(f"deep/{path.stem}", text("again"), 0)
        assert not list(tmp_path.rglob(".*.txt.*"))


# its size


def test_the_record_does_not_grow_with_the_epochs(tmp_path, monkeypatch):
    monkeypatch.setattr(record, "_SPARE", 50)
    sink = FolderSink(tmp_path)
    most = 0
    for epoch in range(200):
        for k in range(5):
            sink.write(f"{k}", text(f"{epoch}"), 0)
        most = max(most, len(lines(tmp_path)))
    assert most < 80
    assert (tmp_path / "3.txt").read_text() == "199"


def test_files_that_are_gone_leave_the_record(tmp_path):
    sink = FolderSink(tmp_path)
    for k in range(20):
        sink.write(f"{k}", text("ours"), 0)
        (tmp_path / f"{k}.txt").unlink()
    FolderSink(tmp_path).write("last", text("ours"), 0)
    assert {line["file"] for line in lines(tmp_path) if "file" in line} == {"last.txt"}


def test_runs_that_were_killed_leave_the_record(tmp_path):
    for k in range(30):
        FolderSink(tmp_path, Run(str(k), pid=2**22 + k, since="long ago")).write("a", text("ours"), 0)
    assert sum("run" in line for line in lines(tmp_path)) <= 2


# what has the record's own name


@pytest.mark.parametrize("link", [True, False])
def test_a_record_that_is_not_ours_is_left_alone(link, tmp_path):
    theirs = tmp_path / "theirs.txt"
    theirs.write_text('{"list": "of groceries"}\n')
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / NAME).symlink_to(theirs) if link else shutil.copy(theirs, folder / NAME)
    sink = FolderSink(folder)
    for content in ("first", "second"):
        sink.write("a", text(content), 0)
    assert "is not lightning_posttrain's" in sink.notices()[0].text
    assert (folder / "a.txt").read_text() == "second"
    assert (folder / NAME).read_text() == theirs.read_text() == '{"list": "of groceries"}\n'


# two runs


def begun(folder, run):
    sink = FolderSink(folder, run)
    sink.write("a", text(run.name), 0)
    return [(notice.text, notice.loud) for notice in sink.notices()]


def test_a_run_beside_another_one_says_so(tmp_path):
    other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        theirs = Run("theirs", pid=other.pid, since=runs._started(other.pid))
        assert begun(tmp_path, theirs) == []
        ((said, loud),) = begun(tmp_path, Run("ours"))
    finally:
        other.communicate(b"\n")
    assert f"another run, process {other.pid} since" in said
    assert "Give each run a folder of its own" in said
    assert loud
    assert begun(tmp_path, Run("later")) == []


@pytest.mark.parametrize("of", [{"pid": 1, "since": "another start"}, {"host": "elsewhere"}, {}])
def test_a_run_that_was_killed_is_no_run_beside(of, tmp_path):
    begun(tmp_path, Run("killed", **of))
    assert begun(tmp_path, Run("ours")) == []


def test_two_runs_at_once_replace_each_others_files(tmp_path):
    first, second = FolderSink(tmp_path, Run("1")), FolderSink(tmp_path, Run("2"))
    for content in ("a", "b", "c"):
        for sink in (first, second):
            sink.write("x", text(content + sink._run.name), 0)
    assert (tmp_path / "x.txt").read_text() == "c2"


def test_a_fit_from_the_start_says_that_it_replaces_an_earlier_one(caplog, recwarn):
    for epochs in (1, 2):
        trainer = toys.quiet(ConfusionMatrix(), max_epochs=epochs)
        caplog.clear()
        trainer.fit(toys.Net(), toys.loader(), toys.loader())
        said = [text for text in caplog.messages if "holds files of an earlier run" in text]
        assert len(said) == epochs - 1
    assert not [one for one in recwarn if "posttrain" in str(one.message)]


@pytest.mark.filterwarnings("ignore:.*ckpt_path", "ignore:.*does not have many workers", "ignore:Checkpoint directory")
def test_what_belongs_together_says_nothing(tmp_path, caplog):
    module = toys.Net()
    trainer = toys.quiet(ConfusionMatrix(), max_epochs=1)
    trainer.fit(module, toys.loader(), toys.loader())
    trainer.validate(module, toys.loader(), verbose=False)
    trainer.fit_loop.max_epochs = 2
    trainer.fit(module, toys.loader(), toys.loader())
    trainer.save_checkpoint("it.ckpt")
    toys.quiet(ConfusionMatrix()).test(module, toys.loader(), verbose=False)
    toys.quiet(ConfusionMatrix(), max_epochs=3).fit(module, toys.loader(), toys.loader(), ckpt_path="it.ckpt")
    said = [text for text in caplog.messages if " → " not in text]  # where the report is, which each run says
    assert not [text for text in said if "posttrain/" in text or "earlier run" in text]
    assert json.loads((tmp_path / "posttrain" / "val" / "confusion_matrix.json").read_text())["epoch"] == 2
    assert not [line for line in lines(tmp_path / "posttrain") if "run" in line][1:]


def test_a_folder_of_an_earlier_version_stays_and_is_said_once(tmp_path):
    ours = tmp_path / "posttrain"
    toys.quiet(ConfusionMatrix()).validate(toys.Net(), toys.loader(), verbose=False)
    (ours / NAME).unlink()
    before = {path: path.read_bytes() for path in ours.rglob("*.*")}
    with pytest.warns(UserWarning, match="no record of those that lightning_posttrain wrote") as caught:
        toys.quiet([ConfusionMatrix(), ConfusionMatrix(name="b")]).validate(toys.Net(), toys.loader(), verbose=False)
    assert {path: path.read_bytes() for path in before} == before
    assert sum("no record" in str(one.message) for one in caught) == 1
    assert (ours / "val" / "b" / "confusion_matrix.png").exists()


def test_moving_it_away_as_the_warning_says_brings_the_files(tmp_path):
    place = tmp_path / "posttrain" / "val" / "confusion_matrix.png"
    place.parent.mkdir(parents=True)
    place.write_text("theirs")
    with pytest.warns(UserWarning, match="Move them away"):
        toys.quiet(ConfusionMatrix()).validate(toys.Net(), toys.loader(), verbose=False)
    with pytest.warns(UserWarning, match="Move it away"):
        toys.quiet(ConfusionMatrix()).validate(toys.Net(), toys.loader(), verbose=False)
    place.rename(tmp_path / "mine.png")
    toys.quiet(ConfusionMatrix(on_error="raise")).validate(toys.Net(), toys.loader(), verbose=False)
    assert place.read_bytes().startswith(b"\x89PNG")


# where listing costs


def test_in_a_remote_folder_what_this_process_wrote_is_deleted_and_nothing_else():
    system = fsspec.filesystem("memory")
    system.pipe("/lost/all/mine.png", b"theirs")
    sink = FolderSink("memory://lost")
    for k in range(2):
        sink.write(f"all/{k}", Image(PIXELS), 0)
    sink.write("all", Cleared(), 0)
    assert {Path(path).name for path in system.ls("/lost/all", detail=False)} == {"mine.png"}
