import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from lightning_posttrain.export import Signature, TensorSpec
from lightning_posttrain.serving.adapters.triton import triton_config, write_triton
from tests.serving.adapters import stand_in

pytestmark = pytest.mark.usefixtures("_installed")


@pytest.fixture
def _installed(monkeypatch):
    monkeypatch.setattr(stand_in.export, "load", stand_in.load, raising=False)


def written(folder, *, batch="batch", columns=4, kind=TensorProto.FLOAT, output="probabilities"):
    """A model of ONNX with the stand-in's signature, or nearly."""
    folder.mkdir()
    made = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "w"], ["scores"]),
            helper.make_node("Softmax", ["scores"], [output], axis=1),
            helper.make_node("ArgMax", [output], ["decision"], axis=1, keepdims=0),
        ],
        "net",
        [helper.make_tensor_value_info("x", kind, [batch, columns])],
        [
            helper.make_tensor_value_info(output, kind, [batch, 3]),
            helper.make_tensor_value_info("decision", TensorProto.INT64, [batch]),
        ],
        [helper.make_tensor("w", kind, [columns, 3], np.ones(columns * 3, np.float32))],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, folder / "model.onnx")
    return folder


def test_a_model_repository_of_triton_is_written(tmp_path):
    source = written(tmp_path / "export")
    (source / "manifest.json").write_text("{}")
    found = write_triton(source, tmp_path / "models", max_batch_size=16)
    files = sorted(path.relative_to(tmp_path / "models").as_posix() for path in (tmp_path / "models").rglob("*"))
    assert files == ["Net", "Net/1", "Net/1/model.onnx", "Net/config.pbtxt"]
    assert (found / "1" / "model.onnx").read_bytes() == (source / "model.onnx").read_bytes()
    assert (found / "config.pbtxt").read_text() == (
        'name: "Net"\n'
        'platform: "onnxruntime_onnx"\n'
        "max_batch_size: 16\n"
        'input { name: "x" data_type: TYPE_FP32 dims: [ 4 ] }\n'
        'output { name: "probabilities" data_type: TYPE_FP32 dims: [ 3 ] }\n'
        'output { name: "decision" data_type: TYPE_INT64 dims: [ 1 ] reshape: { shape: [ ] } }\n'
        "dynamic_batching { }\n"
    )


def test_weights_beside_the_model_are_written_too(tmp_path):
    (written(tmp_path / "export") / "model.onnx.data").write_bytes(b"weights")
    found = write_triton(tmp_path / "export", tmp_path / "models", name="other")
    assert (found / "1" / "model.onnx.data").read_bytes() == b"weights"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"columns": 5}, "model.onnx is .* and the manifest says"),
        ({"output": "said"}, "model.onnx is .* and the manifest says"),
        ({"kind": TensorProto.DOUBLE}, "model.onnx is .* and the manifest says"),
        ({"batch": 2}, "which has no free batch"),
    ],
)
def test_a_model_that_is_not_what_the_manifest_says_is_refused(tmp_path, options, words):
    with pytest.raises(ValueError, match=words):
        write_triton(written(tmp_path / "export", **options), tmp_path / "models")
    assert not (tmp_path / "models").exists()


def test_a_folder_without_onnx_is_refused(tmp_path):
    (tmp_path / "export").mkdir()
    with pytest.raises(ValueError, match=r"`folder` has no model.onnx"):
        write_triton(tmp_path / "export", tmp_path / "models")


@pytest.mark.parametrize("options", [{"name": "../up"}, {"name": ""}, {"name": ".."}, {"max_batch_size": 0}])
def test_names_and_sizes_that_are_none_are_refused(tmp_path, options):
    with pytest.raises(ValueError, match="`name` and `max_batch_size` are"):
        write_triton(written(tmp_path / "export"), tmp_path / "models", **options)


def test_a_model_that_is_there_is_left_as_it_is(tmp_path):
    source = written(tmp_path / "export")
    there = write_triton(source, tmp_path / "models")
    (there / "config.pbtxt").write_text("mine")
    with pytest.raises(FileExistsError, match=r"is there\. Remove it, or give another `name`"):
        write_triton(source, tmp_path / "models")
    assert (there / "config.pbtxt").read_text() == "mine"
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["Net"]


@pytest.mark.peers
@pytest.mark.filterwarnings("ignore")
def test_the_configuration_is_one_that_triton_reads():
    text_format = pytest.importorskip("google.protobuf.text_format")
    messages = pytest.importorskip("tritonclient.grpc.model_config_pb2")
    kinds = ("float32", "float16", "float64", "int64", "int32", "int8", "uint8", "bool")
    specs = tuple(TensorSpec(f'x "{kind}"', kind, (None, 3, None)) for kind in kinds)
    text = triton_config("net", Signature(specs, stand_in.SIGNATURE.outputs), max_batch_size=7)
    read = text_format.Parse(text, messages.ModelConfig())
    assert (read.name, read.platform, read.max_batch_size) == ("net", "onnxruntime_onnx", 7)
    assert read.HasField("dynamic_batching")
    assert [(each.name, list(each.dims)) for each in read.input] == [(spec.name, [3, -1]) for spec in specs]
    names = [messages.DataType.Name(each.data_type) for each in read.input]
    assert names == [f"TYPE_{name}" for name in ("FP32", "FP16", "FP64", "INT64", "INT32", "INT8", "UINT8", "BOOL")]
    assert read.output[1].HasField("reshape")
    assert (list(read.output[1].dims), list(read.output[1].reshape.shape)) == ([1], [])
