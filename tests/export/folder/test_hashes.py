"""What was changed in a folder is found before anything of it is opened."""

import hashlib
import json

import pytest

from lightning_posttrain.export.folder.hashes import MOST_MANIFEST, check_folder, sha256
from lightning_posttrain.export.manifest import Manifest
from tests.export.folders import exported


@pytest.fixture
def folder(tmp_path):
    return exported(tmp_path / "export", files={"weights.safetensors": b"weights"})


def test_the_hash_is_that_of_hashlib(tmp_path):
    (tmp_path / "x").write_bytes(bytes(range(256)) * 9000)
    assert sha256(tmp_path / "x") == hashlib.sha256(bytes(range(256)) * 9000).hexdigest()


@pytest.mark.parametrize("name", ["model.onnx", "weights.safetensors", "MLmodel"])
def test_a_changed_file_is_named(folder, name):
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ValueError, match=f"'{name}' was changed: its SHA-256 is"):
        check_folder(folder)
    (folder / name).write_bytes(content + b" ")
    with pytest.raises(ValueError, match=f"'{name}' was changed: it has {len(content) + 1} bytes"):
        check_folder(folder)


@pytest.mark.parametrize("name", ["model.onnx", "manifest.json", "README.md"])
def test_a_missing_file_and_a_link_are_named(folder, tmp_path, name):
    (folder / name).rename(tmp_path / name)
    with pytest.raises(ValueError, match=f"'{name}' is missing in .*Copy the whole folder"):
        check_folder(folder)
    (folder / name).symlink_to(tmp_path / name)
    with pytest.raises(ValueError, match=rf"'{name}' is a link, wanted a file. Copy .*`cp -rL`"):
        check_folder(folder)


def test_a_card_may_be_edited_and_other_files_may_lie_there(folder):
    (folder / "README.md").write_text("---\nlicense: mit\n---")
    (folder / ".gitattributes").write_text("")
    assert "model.onnx" in check_folder(folder).files


@pytest.mark.parametrize("edit", [("decision", "class_names", 0), ("signature", "inputs", 0, "shape", 1), ("name",)])
def test_a_manifest_that_was_edited_is_refused(folder, edit):
    said = json.loads((folder / "manifest.json").read_text())
    part = said
    for key in edit[:-1]:
        part = part[key]
    part[edit[-1]] = 7 if edit[-1] == 1 else "other"
    (folder / "manifest.json").write_text(json.dumps(said))
    with pytest.raises(ValueError, match=r"manifest\.json was changed since it was written"):
        check_folder(folder)


@pytest.mark.parametrize("name", ["../outside", "a/b", "a\\b", "..", ".", "", "c:x", "manifest.json", "a\0b"])
def test_names_that_lead_elsewhere_are_refused(folder, name):
    read = Manifest.from_json((folder / "manifest.json").read_bytes())
    object.__setattr__(read, "files", {name: {"sha256": "0" * 64, "bytes": 1}})
    (folder / "manifest.json").write_text(read.to_json())
    with pytest.raises(ValueError, match="wanted plain names of files, without folders"):
        check_folder(folder)


def test_a_manifest_of_any_size_is_not_read(folder):
    with (folder / "manifest.json").open("r+b") as file:
        file.truncate(MOST_MANIFEST + 1)
    with pytest.raises(ValueError, match=f"has {MOST_MANIFEST + 1} bytes, wanted {MOST_MANIFEST} at most"):
        check_folder(folder)
