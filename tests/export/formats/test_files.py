"""What a file holds: names, metadata, weights; and neither rows nor folders of the machine."""

import json
import os
import re
import sys
import zipfile
from pathlib import Path

import onnx
import pytest
import torch
from onnxruntime import InferenceSession
from safetensors import safe_open
from safetensors.torch import load_model
from torch import nn

from lightning_posttrain.calibration import TemperatureScaling
from lightning_posttrain.export.decision import Decision
from lightning_posttrain.export.formats import FORMATS, onnx_named
from lightning_posttrain.export.program import CannotExportError, Deployed, Entry, traced
from tests.export.networks import Cnn, Text, Tied, settled

MANIFEST = json.dumps({"schema": 1, "name": "Net"})
PLAIN = ("onnx", "pt2", "safetensors", "int8")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Files of a CNN, and the rows of the data set that its examples are a view of."""
    torch.manual_seed(0)
    folder, data = tmp_path_factory.mktemp("export"), torch.rand(300, 1, 8, 8)
    decision, calibrator = Decision("multiclass", ("cat", "dog", "owl")), TemperatureScaling(2, "multiclass")
    deployed = Deployed(settled(Cnn(), data), decision, calibrator=calibrator)
    found = traced(deployed, [{"x": data[100:108]}])
    for name in PLAIN:
        FORMATS[name].write(found, folder, MANIFEST, [{"x": data[:16].numpy()}])
    return folder, data, found


def contents(folder):
    """Of each file, and of each file in an archive."""
    for path in sorted(folder.iterdir()):
        yield path.name, path.read_bytes()
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                yield from ((f"{path.name}/{name}", archive.read(name)) for name in archive.namelist())


def test_no_row_of_the_data_is_in_a_file(folder):
    where, data, _ = folder
    pieces = [row.numpy().tobytes()[start : start + 16] for row in data for start in (0, 64, 128)]
    for name, content in contents(where):
        assert not any(piece in content for piece in pieces), name


def test_a_row_in_a_file_would_be_seen(folder, tmp_path):
    _, data, found = folder
    found.program.example_inputs = ((data[100:102],), {})
    torch.export.save(found.program, tmp_path / "kept.pt2")
    found.program.example_inputs = None
    assert any(data[250].numpy().tobytes() in content for _, content in contents(tmp_path))


def test_no_folder_of_the_machine_is_in_a_file(folder):
    where, *_ = folder
    here = {str(Path(__file__).parent), str(Path.home()), str(where), sys.prefix, str(Path.cwd())} - {"/"}
    for name, content in contents(where):
        assert not any(os.fsencode(one) in content for one in here), name
        assert not re.search(rb"\.py\b", content), name


def test_each_format_writes_its_files_and_nothing_else(folder):
    where, *_ = folder
    assert {path.name for path in where.iterdir()} == {file for name in PLAIN for file in FORMATS[name].files}


def test_an_onnx_file_says_what_it_takes_and_of_which_classes(folder):
    where, *_ = folder
    session = InferenceSession(where / "model.onnx")
    about = session.get_modelmeta().custom_metadata_map
    assert json.loads(about["manifest"]) == json.loads(MANIFEST)
    assert json.loads(about["class_names"]) == ["cat", "dog", "owl"]
    assert [(one.name, one.shape) for one in session.get_inputs()] == [("x", ["batch", 1, 8, 8])]
    assert [(one.name, one.shape) for one in session.get_outputs()] == [
        ("probabilities", ["batch", 3]),
        ("decision", ["batch"]),
    ]


def test_names_of_modules_are_in_the_named_model_alone(folder):
    where, _, found = folder
    named = onnx.load_model_from_string(onnx_named(found))
    scopes = " ".join(prop.value for node in named.graph.node for prop in node.metadata_props)
    assert "'network.head'" in scopes
    assert b"'network.head'" not in (where / "model.onnx").read_bytes()
    assert b"stack_trace" not in onnx_named(found)


def test_a_program_holds_the_manifest_and_no_pickle(folder):
    where, *_ = folder
    extra = {"manifest.json": ""}
    torch.export.load(where / "model.pt2", extra_files=extra)
    assert json.loads(extra["manifest.json"]) == json.loads(MANIFEST)
    parts = {name.split("/", 2)[2]: content for name, content in contents(where) if "model.pt2/" in name}
    assert parts["data/sample_inputs/model.pt"] == b""
    configs = [json.loads(content)["config"] for name, content in parts.items() if name.endswith("_config.json")]
    assert len(configs) == 2
    assert not any(one["use_pickle"] for config in configs for one in config.values())


def test_weights_have_the_names_of_the_users_module_and_ties_hold(tmp_path):
    network = Tied()
    entry = Entry(network, lambda root, x: root(x), torch.randn(4, 6), {"x": ()})
    found = traced(Deployed(entry, Decision("multiclass", ("a", "b", "c"))), [{"x": torch.randn(4, 6)}])
    FORMATS["safetensors"].write(found, tmp_path, MANIFEST)
    other = Tied()
    load_model(other, tmp_path / "weights.safetensors")
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in network.state_dict().items())
    with safe_open(tmp_path / "weights.safetensors", "pt") as file:
        assert json.loads(file.metadata()["manifest"]) == json.loads(MANIFEST)
    assert FORMATS["safetensors"].opened(tmp_path, found.signature) is None


@pytest.mark.slow
def test_two_inputs_with_a_free_length_have_names_and_one_symbol(tmp_path):
    def batch(rows, length):
        return {"ids": torch.randint(0, 40, (rows, length)), "mask": torch.ones(rows, length, dtype=torch.int64)}

    class Only(nn.Module):
        def __init__(self):
            super().__init__()
            self.text = Text()

        def forward(self, ids, mask):
            return self.text(ids, mask)[0]

    found = traced(Deployed(Only(), Decision("multiclass", ("a", "b", "c"))), [batch(4, 7), batch(3, 5)])
    FORMATS["onnx"].write(found, tmp_path, MANIFEST)
    FORMATS["pt2"].write(found, tmp_path, MANIFEST)
    given = [(one.name, one.shape) for one in InferenceSession(tmp_path / "model.onnx").get_inputs()]
    assert given == [("ids", ["batch", "length"]), ("mask", ["batch", "length"])]
    for rows, length in ((1, 3), (2, 40), (64, 7)):
        wide = batch(rows, length)
        wide["mask"][:, length // 2 :] = 0
        wanted, decided = found.deployed(*wide.values())
        for name in ("onnx", "pt2"):
            answer = FORMATS[name].opened(tmp_path, found.signature)({k: v.numpy() for k, v in wide.items()})
            torch.testing.assert_close(torch.tensor(answer.probabilities), wanted.detach(), atol=1e-5, rtol=0)
            assert torch.equal(torch.tensor(answer.decision), decided)


@pytest.mark.slow
def test_what_onnx_has_no_operation_for_is_named(tmp_path):
    class Searching(nn.Module):
        def forward(self, x):
            return torch.searchsorted(torch.arange(5.0), x).float()

    found = traced(Deployed(Searching(), Decision("multiclass", ("a", "b", "c"))), [{"x": torch.rand(4, 3)}])
    with pytest.raises(CannotExportError, match=r"ONNX has no operation for torch's searchsorted\. Use format"):
        FORMATS["onnx"].write(found, tmp_path, MANIFEST)


@pytest.mark.slow
def test_what_onnxruntime_cannot_run_is_said_with_what_to_do(tmp_path):
    class Halves(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 3)

        def forward(self, x):
            with torch.autocast("cpu", dtype=torch.bfloat16):
                return self.layer(x)

    found = traced(Deployed(Halves(), Decision("multiclass", ("a", "b", "c"))), [{"x": torch.randn(4, 4)}])
    FORMATS["onnx"].write(found, tmp_path, MANIFEST)
    with pytest.raises(CannotExportError, match=r"cannot be opened by onnxruntime .*Leave half precision out"):
        FORMATS["onnx"].opened(tmp_path, found.signature)


@pytest.mark.slow
def test_an_export_says_nothing(tmp_path, capfd):
    found = traced(Deployed(Cnn(), Decision("multiclass", ("a", "b", "c"))), [{"x": torch.randn(4, 1, 8, 8)}])
    for name in PLAIN:
        FORMATS[name].write(found, tmp_path, MANIFEST, [{"x": torch.randn(4, 1, 8, 8).numpy()}])
        FORMATS[name].opened(tmp_path, found.signature)
    assert capfd.readouterr() == ("", "")
