"""Folders that were made to deceive: another model under the hashes of the first, a manifest that contradicts it."""

import dataclasses

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from lightning_posttrain import ModelExport
from lightning_posttrain.export import Manifest, load
from lightning_posttrain.export.folder.checking import check_command
from lightning_posttrain.export.folder.hashes import about
from lightning_posttrain.export.run import earlier
from tests import toys
from tests.export.test_model_export import fitted

pytestmark = pytest.mark.slow

X = toys.images(3).tensors[0].numpy()


@pytest.fixture
def folder(tmp_path):
    fitted(tmp_path, ModelExport(formats=["onnx"], folder=str(tmp_path / "out"), on_error="raise"), epochs=1)
    return tmp_path / "out"


def signed(folder, **changes):
    """Write a manifest anew, with the hashes of what lies there."""
    path = folder / "manifest.json"
    manifest = Manifest.from_json(path.read_bytes())
    files = {name: about(folder / name) for name in manifest.files}
    path.write_text(dataclasses.replace(manifest, files=files, **changes).to_json())


def swapped(folder, decision):
    """Put a model there that gives its input back."""
    nodes = [helper.make_node("Identity", ["x"], ["probabilities"])]
    nodes.append(helper.make_node("Cast", ["x"], ["decision"], to=decision))
    kinds = {"x": TensorProto.FLOAT, "probabilities": TensorProto.FLOAT, "decision": decision}
    x, *outputs = (helper.make_tensor_value_info(name, kind, ["b", 1, 8, 8]) for name, kind in kinds.items())
    graph = helper.make_graph(nodes, "graph", [x], outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    signed(folder)


@pytest.mark.parametrize("decision", [TensorProto.INT64, TensorProto.FLOAT])
def test_a_model_of_another_form_gives_no_answers(folder, decision):
    swapped(folder, decision)
    predictor = load(folder)
    with pytest.raises(RuntimeError, match=r"it gives probabilities float32 \(3, 1, 8, 8\), wanted float32 \(N, 4\)"):
        predictor(X)
    np.save(folder.parent / "x.npy", X)
    code, said = check_command(folder, [folder.parent / "x.npy"])
    assert (code, "it gives probabilities" in said) == (2, True)


@pytest.mark.parametrize("location", ["../secret.bin", "/etc/passwd"])
def test_weights_outside_of_the_folder_are_not_read(folder, location):
    (folder.parent / "secret.bin").write_bytes(bytes(1 << 16))
    model = onnx.load(folder / "model.onnx")
    tensor = max(model.graph.initializer, key=lambda one: len(one.raw_data))
    size = len(tensor.raw_data)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, "offset": "0", "length": str(size)}.items():
        tensor.external_data.add(key=key, value=value)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    signed(folder)
    with pytest.raises(ValueError, match="cannot be opened by onnxruntime"):
        load(folder)


@pytest.mark.parametrize(
    "change", [{"class_names": ("a", "b")}, {"task": "multilabel"}, {"class_names": tuple(map(str, range(300_000)))}]
)
def test_a_decision_that_does_not_go_with_the_outputs_is_refused(folder, change):
    decision = dataclasses.replace(Manifest.from_json((folder / "manifest.json").read_bytes()).decision, **change)
    signed(folder, decision=decision)
    with pytest.raises(ValueError, match="do not go with"):
        load(folder)


@pytest.mark.filterwarnings("ignore:.*is not kept")
@pytest.mark.parametrize("native", [False, True])
def test_native_code_that_nobody_asked_for_is_not_opened(tmp_path, monkeypatch, native):
    export = ModelExport(formats=["pt2"], weights="last", folder=str(tmp_path / "out"), on_error="raise")
    trainer, module = fitted(tmp_path, export, epochs=1)
    if native:
        manifest = Manifest.from_json((tmp_path / "out" / "manifest.json").read_bytes())
        signed(tmp_path / "out", parity={**manifest.parity, "aoti": {**manifest.parity["pt2"], "name": "aoti"}})
    known, seen = earlier.earlier, []

    def looked_at(*args):
        seen.append(known(*args))
        return seen[-1]

    monkeypatch.setattr("lightning_posttrain.export.run.subject.earlier", looked_at)
    trainer.test(module, toys.loader(), verbose=False)
    assert [found is None for found in seen] == [native]
