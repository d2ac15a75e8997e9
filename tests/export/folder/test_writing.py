"""A folder is written whole or not at all, and nothing of others is touched."""

import errno
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from lightning_posttrain.export.folder import places
from lightning_posttrain.export.folder.hashes import check_folder
from lightning_posttrain.export.folder.writing import update_manifest, write_folder
from lightning_posttrain.export.manifest import Manifest
from tests.export.folders import exported, manifest

OURS = {"model.onnx", "manifest.json", "README.md", "MLmodel"}


def names(path):
    return {each.name for each in path.iterdir()}


def contents(path):
    return {each.name: each.read_bytes() for each in path.iterdir()}


@pytest.fixture(params=[True, False], ids=["one step", "three steps"])
def steps(request, monkeypatch):
    if not request.param:
        monkeypatch.setattr(places, "_exchanged", lambda one, other: False)


@pytest.mark.usefixtures("steps")
def test_a_folder_is_there_with_its_hashes_and_nothing_is_left_beside_it(tmp_path):
    path = exported(tmp_path / "deep" / "export")
    assert names(path) == OURS
    read = check_folder(path)
    assert set(read.files) == OURS - {"manifest.json"}
    assert all(read.files[name]["bytes"] == (path / name).stat().st_size for name in read.files)
    assert names(path.parent) == {"export"}
    exported(path, files={"weights.safetensors": b"w"})
    assert names(path) == OURS | {"weights.safetensors"}
    exported(path)
    assert names(path) == OURS
    assert names(path.parent) == {"export"}


def test_all_files_can_be_read_by_whoever_reads_the_manifest(tmp_path):
    def write(work):
        (work / "weights.safetensors").write_bytes(b"w")
        (work / "weights.safetensors").chmod(0o600)

    write_folder(tmp_path / "export", manifest(), write)
    assert len({each.stat().st_mode for each in (tmp_path / "export").iterdir()}) == 1


def test_an_empty_folder_is_taken(tmp_path):
    (tmp_path / "export").mkdir()
    assert names(exported(tmp_path / "export")) == OURS


def test_a_link_to_a_folder_is_followed(tmp_path):
    exported(tmp_path / "real")
    (tmp_path / "export").symlink_to(tmp_path / "real")
    exported(tmp_path / "export", files={"more": b"m"})
    assert "more" in names(tmp_path / "real")
    assert (tmp_path / "export").is_symlink()


def test_what_is_not_ours_is_refused_and_left_as_it_is(tmp_path):
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(ValueError, match=r"which is a file\. Move it elsewhere, or give another path"):
        exported(file)
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"a folder that is not an export: 'manifest\.json' is missing"):
        exported(folder)
    (folder / "manifest.json").write_text('{"name": "a web app"}')
    with pytest.raises(ValueError, match=r"a folder that is not an export: manifest\.json has schema None"):
        exported(folder)
    assert file.read_text() == "mine"
    assert names(folder) == {"notes.txt", "manifest.json"}
    assert names(tmp_path) == {"file", "folder"}


@pytest.mark.parametrize("name", ["notes.txt", "README.md", "model.onnx", ".hidden"])
def test_an_export_with_files_of_others_is_refused_and_left_as_it_is(tmp_path, name):
    path = exported(tmp_path / "export")
    (path / name).write_text("mine")
    before = contents(path)
    with pytest.raises(ValueError, match=f"holds what was not written with it: {name}. Move what is yours"):
        exported(path)
    assert contents(path) == before
    (path / name).rename(tmp_path / "elsewhere")
    assert names(exported(path)) == OURS


def test_a_folder_within_an_export_is_not_removed(tmp_path):
    path = exported(tmp_path / "export")
    (path / "sub").mkdir()
    (path / "sub" / "work").write_text("mine")
    with pytest.raises(ValueError, match="sub"):
        exported(path)
    assert (path / "sub" / "work").read_text() == "mine"


def test_what_comes_into_an_export_while_it_is_replaced_is_kept(tmp_path, monkeypatch):
    path = exported(tmp_path / "export")
    swap = places.swap

    def late(one, other):
        if not (other / "late.txt").exists() and not (one / "late.txt").exists():
            (other / "late.txt").write_text("mine")
        swap(one, other)

    monkeypatch.setattr(places, "swap", late)
    with pytest.raises(ValueError, match=r"late\.txt"):
        exported(path, files={"more": b"m"})
    assert names(path) == OURS | {"late.txt"}
    assert names(tmp_path) == {"export"}


@pytest.mark.parametrize("when", ["write", "card", "manifest", "swap"])
def test_a_full_disk_leaves_the_earlier_export_and_nothing_behind(tmp_path, monkeypatch, when):
    path = exported(tmp_path / "export")
    before = contents(path)
    full = OSError(errno.ENOSPC, "No space left on device")

    def fail(*_):
        raise full

    write = Path.write_bytes

    def write_bytes(self, content):
        if self.name == {"card": "README.md", "manifest": "manifest.json"}.get(when):
            write(self, content[:10])
            fail()
        return write(self, content)

    monkeypatch.setattr(Path, "write_bytes", write_bytes)
    if when == "swap":
        monkeypatch.setattr(places, "_exchanged", fail)

    def made(work):
        (work / "model.onnx").write_bytes(b"part of it")
        if when == "write":
            fail()

    with pytest.raises(OSError, match="No space left") as raised:
        write_folder(path, manifest(), made)
    assert raised.value.errno == errno.ENOSPC
    assert contents(path) == before
    assert names(tmp_path) == {"export"}
    check_folder(path)


def test_in_three_steps_the_earlier_export_comes_back_where_the_later_one_cannot_take_its_place(tmp_path, monkeypatch):
    path = exported(tmp_path / "export")
    before = contents(path)
    monkeypatch.setattr(places, "_exchanged", lambda one, other: False)
    rename = Path.rename

    def failing(self, target):
        if self.suffix == ".part":
            raise OSError(errno.EIO, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(OSError, match="Input/output"):
        exported(path, files={"more": b"m"})
    assert contents(path) == before
    assert names(tmp_path) == {"export"}


@pytest.mark.parametrize("bad", ["folder", "link", "README.md", "MLmodel", "manifest.json"])
def test_only_plain_files_are_written(tmp_path, bad):
    def write(work):
        if bad == "folder":
            (work / "folder").mkdir()
        elif bad == "link":
            (work / "link").symlink_to("/etc/hostname")
        else:
            (work / bad).write_text("x")

    with pytest.raises(ValueError, match=f"`write` made '{bad}', wanted plain files"):
        write_folder(tmp_path / "export", manifest(), write)
    assert names(tmp_path) == set()


WRITER = """
import sys, time
from pathlib import Path
from lightning_posttrain.export.folder import places
from tests.export.folders import exported, manifest
from lightning_posttrain.export.folder.writing import write_folder
path, when = Path(sys.argv[1]), sys.argv[2]

def stop(*_):
    print("there", flush=True)
    time.sleep(60)

def write(work):
    (work / "model.onnx").write_bytes(b"half")
    if when == "write":
        stop()

if when == "between":
    places._exchanged = lambda one, other: False
    rename = Path.rename
    Path.rename = lambda self, target: stop() if self.suffix == ".part" else rename(self, target)
if when == "after":
    check = places.check_place
    places.check_place = lambda path: stop() if path.suffix == ".part" else check(path)
write_folder(path, manifest(), write)
"""


@pytest.mark.skipif(os.name != "posix", reason="processes are asked for by signals")
@pytest.mark.parametrize("when", ["write", "between", "after"])
def test_a_killed_process_leaves_a_whole_export_and_what_it_left_is_removed_next_time(tmp_path, when):
    path = exported(tmp_path / "export", files={"earlier": b"e"})
    root = Path(places.__file__).parents[3]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    command = [sys.executable, "-c", WRITER, str(path), when]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, cwd=root) as process:
        assert process.stdout.readline() == "there\n"
        places.tidy(path)
        assert len(names(tmp_path)) == 2, "what a living process writes stays"
        process.send_signal(signal.SIGKILL)
    assert len(names(tmp_path)) == 2
    if when == "write":
        assert "earlier" in check_folder(path).files
    places.tidy(path)
    assert names(tmp_path) == {"export"}
    assert ("earlier" in check_folder(path).files) == (when != "after")
    exported(path, files={"later": b"l"})
    assert "later" in check_folder(path).files
    assert names(tmp_path) == {"export"}


def test_what_another_machine_left_long_ago_is_removed_and_what_is_fresh_stays(tmp_path):
    path = exported(tmp_path / "export")
    fresh, old = (tmp_path / f".export.lightning-posttrain-00000000-{pid}-abcdef01.part" for pid in (7, 8))
    foreign = tmp_path / ".export.lightning-posttrain-notes"
    for each in (fresh, old, foreign):
        each.mkdir()
        os.utime(each, (time.time() - 10, time.time() - (90_000 if each != fresh else 10)))
    exported(path)
    assert names(tmp_path) == {"export", fresh.name, foreign.name}


def _write_often(path, tag, times, failures):
    for _ in range(times):
        try:
            exported(path, files={f"{tag}.bin": tag.encode() * 1000})
        except Exception as error:
            failures.put(f"{tag}: {error!r}")


def test_two_processes_that_write_at_once_leave_one_whole_export(tmp_path):
    path = tmp_path / "export"
    context = multiprocessing.get_context("spawn")
    failures = context.Queue()
    writers = [context.Process(target=_write_often, args=(path, tag, 15, failures)) for tag in "ab"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert failures.empty(), failures.get()
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert names(path) in (OURS | {"a.bin"}, OURS | {"b.bin"})
    check_folder(path)
    assert names(tmp_path) == {"export"}


TESTED = {"test": {"accuracy": {"value": 0.9, "low": 0.8, "high": 0.95}, "rows": 100}}


@pytest.mark.usefixtures("steps")
def test_later_metrics_change_the_manifest_and_the_card_alone(tmp_path):
    path = exported(tmp_path / "export", files={"weights.safetensors": b"w"})
    before, files = contents(path), check_folder(path).files
    inode = (path / "model.onnx").stat().st_ino
    whole = update_manifest(path, lambda said: replace(said, metrics=TESTED))
    read = check_folder(path)
    assert read == whole
    assert read.metrics == TESTED
    assert {name for name, content in contents(path).items() if content != before[name]} == {
        "manifest.json",
        "README.md",
    }
    assert {name: about for name, about in read.files.items() if name != "README.md"} == {
        name: about for name, about in files.items() if name != "README.md"
    }
    assert "(0.8000 to 0.9500)" in (path / "README.md").read_text()
    assert (path / "model.onnx").stat().st_ino == inode, "large files are not copied"
    assert names(tmp_path) == {"export"}
    exported(path)


def test_a_card_that_was_edited_and_files_that_were_added_stay_when_metrics_come(tmp_path):
    path = exported(tmp_path / "export")
    (path / "README.md").write_text("---\nlicense: mit\n---\nMine.")
    (path / "sub").mkdir()
    (path / "sub" / "notes").write_text("mine")
    update_manifest(path, lambda said: replace(said, metrics=TESTED))
    assert (path / "README.md").read_text().endswith("Mine.")
    assert (path / "sub" / "notes").read_text() == "mine"
    assert check_folder(path).metrics == TESTED
    with pytest.raises(ValueError, match=r"README.md, sub"):
        exported(path)


@pytest.mark.parametrize("fails", ["README.md", "manifest.json", "swap"])
def test_an_update_that_fails_leaves_an_export_that_loads(tmp_path, monkeypatch, fails):
    path = exported(tmp_path / "export")
    before = contents(path)
    write = Path.write_bytes

    def write_bytes(self, content):
        if self.name == fails:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(self, content)

    monkeypatch.setattr(Path, "write_bytes", write_bytes)
    if fails == "swap":
        monkeypatch.setattr(places, "_exchanged", lambda *_: (_ for _ in ()).throw(OSError(errno.EIO, "No space left")))
    with pytest.raises(OSError, match="No space left"):
        update_manifest(path, lambda said: replace(said, metrics=TESTED))
    assert contents(path) == before
    assert names(tmp_path) == {"export"}


def test_the_same_export_gives_the_same_bytes(tmp_path):
    one, other = exported(tmp_path / "one"), exported(tmp_path / "other")
    assert contents(one) == contents(other)
    assert Manifest.from_json((one / "manifest.json").read_bytes()).to_json() == (one / "manifest.json").read_text()
    assert "tmp" not in json.dumps([text.decode() for text in contents(one).values() if b"\0" not in text])
