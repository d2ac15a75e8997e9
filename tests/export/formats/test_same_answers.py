"""What a file answers is what the module answers, for every kind of network, format, batch and calibrator."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import expit, softmax
from torch import nn

from lightning_posttrain.calibration import (
    Identity,
    IsotonicCalibration,
    PlattScaling,
    TemperatureScaling,
    VectorScaling,
)
from lightning_posttrain.export.decision import Decision
from lightning_posttrain.export.formats import FORMATS
from lightning_posttrain.export.program import CannotExportError, Deployed, traced
from tests.export.networks import Cnn, Lstm, Tied, Unet, Vit, settled

BATCHES = (1, 2, 7, 64)
MANIFEST = json.dumps({"schema": 1, "name": "Net"})
THREE = Decision("multiclass", ("a", "b", "c"), confidence=0.36)


def written(deployed, rows, folder, formats=("onnx", "pt2")):
    found = traced(deployed, [{"x": rows}])
    for name in formats:
        FORMATS[name].write(found, folder, MANIFEST)
    return found


def assert_same_answers(found, folder, rows, formats=("onnx", "pt2")):
    for name in formats:
        run = FORMATS[name].opened(folder, found.signature, threads=1)
        for count in BATCHES:
            given = {"x": rows[:count]}
            with torch.no_grad():
                probabilities, decision = found.deployed(*given.values())
            answer = run(found.signature.of({key: value.numpy() for key, value in given.items()}))
            np.testing.assert_allclose(answer.probabilities, probabilities, atol=1e-5, rtol=0)
            np.testing.assert_array_equal(answer.decision, decision)
            assert answer.probabilities.dtype == np.float32
            assert answer.decision.dtype == np.int64


@pytest.mark.parametrize(
    ("network", "shape"),
    [
        pytest.param(Cnn(), (1, 8, 8), id="CNN"),
        pytest.param(Lstm(), (5, 6), id="LSTM", marks=pytest.mark.slow),
        pytest.param(Vit(), (1, 16, 16), id="ViT", marks=pytest.mark.slow),
        pytest.param(Unet(), (1, 8, 8), id="UNet", marks=pytest.mark.slow),
        pytest.param(Tied(), (6,), id="tied weights", marks=pytest.mark.slow),
    ],
)
def test_a_network_answers_alike_in_each_format(network, shape, tmp_path):
    rows = torch.randn(64, *shape)
    top = settled(network, rows).eval()(rows).softmax(1).amax(1).detach()
    least = replace(THREE, confidence=float(top.median()) + 1e-4)
    deployed = Deployed(network, least, calibrator=TemperatureScaling(1.7, "multiclass"))
    found = written(deployed, rows, tmp_path)
    assert_same_answers(found, tmp_path, rows)
    assert {-1} < set(found.deployed(rows)[1].unique().tolist())  # some are answered, some are not


ISOTONIC = IsotonicCalibration(torch.tensor([-1.0, 0.0, 0.4]), torch.tensor([0.1, 0.4, 0.9]), "binary")
SCALES, BIASES = torch.tensor([0.5, 1.0, 2.0]), torch.tensor([0.1, 0.0, -0.3])
HEADS = [
    ("logits", "multiclass", 3, VectorScaling(SCALES, BIASES, "multiclass"), None),
    ("logits", "binary", 1, ISOTONIC, (0.45,)),
    ("probabilities", "binary", 2, ISOTONIC, (0.45,)),
    ("probabilities", "binary", 1, PlattScaling(0.5, 0.2, "binary"), None),
    ("logits", "binary", 2, Identity("binary"), (0.55,)),
    ("probabilities", "multilabel", 3, PlattScaling(SCALES, BIASES, "multilabel"), (0.4, 0.5, 0.6)),
]
OTHER = {"logits": "probabilities", "probabilities": "logits"}
HEADS += [(OTHER[kind], *rest) for kind, *rest in HEADS]
HEADS = [*(pytest.param(*head, marks=pytest.mark.slow) for head in HEADS[:-1]), HEADS[-1]]


@pytest.mark.parametrize(("kind", "task", "outputs", "calibrator", "thresholds"), HEADS)
def test_a_calibrator_and_thresholds_are_in_the_file(kind, task, outputs, calibrator, thresholds, tmp_path):
    rows = torch.randn(64, 6)
    last = {
        "logits": nn.Identity(),
        "probabilities": nn.Sigmoid() if outputs != 2 or task != "binary" else nn.Softmax(1),
    }
    if task == "multiclass":
        last["probabilities"] = nn.Softmax(1)
    network = nn.Sequential(nn.Linear(6, outputs), last[kind])
    decision = Decision(task, ("a", "b", "c")[: max(outputs, 2)], thresholds=thresholds, mean=(0.5,), std=(2.0,))
    found = written(Deployed(network, decision, scores=kind, calibrator=calibrator), rows, tmp_path)
    assert_same_answers(found, tmp_path, rows)
    scores = network[0]((rows - 0.5) / 2).detach()
    if task == "multiclass" and kind == "probabilities":
        scores = scores.log_softmax(1)
    given, own = calibrator(scores).numpy(), scores.numpy()
    if task == "multiclass":
        chance, decided = softmax(given, 1), own.argmax(1)
    elif outputs == 2:
        chance, decided = softmax(given, 1), softmax(own, 1)[:, 1] >= (thresholds or (0.5,))
    elif task == "binary":
        chance, decided = (
            np.stack([expit(-given[:, 0]), expit(given[:, 0])], 1),
            expit(own[:, 0]) >= (thresholds or (0.5,)),
        )
    else:
        chance, decided = expit(given), expit(own) >= thresholds
    answer = FORMATS["onnx"].opened(tmp_path, found.signature)({"x": rows.numpy()})
    np.testing.assert_allclose(answer.probabilities, chance, atol=1e-5)
    np.testing.assert_array_equal(answer.decision, decided)


@pytest.mark.slow
def test_images_as_bytes_are_divided_by_255_and_normalised_in_the_file(tmp_path):
    network = settled(Cnn(), torch.randn(8, 1, 8, 8))
    rows = torch.randint(0, 256, (64, 1, 8, 8), dtype=torch.uint8)
    decision = Decision("multiclass", ("a", "b", "c"), mean=(0.4,), std=(0.3,))
    found = written(Deployed(network, decision, uint8=True), rows, tmp_path)
    assert found.signature.inputs[0].words == "uint8 (N, 1, 8, 8)"
    assert_same_answers(found, tmp_path, rows)
    wanted = network.eval()((rows / 255 - 0.4) / 0.3).softmax(1)
    torch.testing.assert_close(found.deployed(rows)[0], wanted)


@pytest.mark.slow
@pytest.mark.parametrize(("network", "shape"), [(Unet(), (1, 8, 8)), (Tied(), (6,))], ids=["static", "dynamic"])
def test_a_quantised_file_decides_nearly_alike(network, shape, tmp_path):
    rows = torch.randn(64, *shape)
    found = traced(Deployed(settled(network, rows), THREE), [{"x": rows}])
    FORMATS["int8"].write(found, tmp_path, MANIFEST, [{"x": rows[:32].numpy()}, {"x": rows[32:].numpy()}])
    answer = FORMATS["int8"].opened(tmp_path, found.signature)({"x": rows.numpy()})
    assert np.abs(answer.probabilities - found.deployed(rows)[0].detach().numpy()).max() < 0.05
    assert [path.name for path in tmp_path.iterdir()] == ["model.int8.onnx"]
    operations = {node.op_type for node in onnx_of(tmp_path / "model.int8.onnx").graph.node}
    assert operations & {"DequantizeLinear", "MatMulInteger"}


@pytest.mark.slow
def test_convolutions_are_quantised_with_rows_alone(tmp_path):
    found = traced(Deployed(Unet(), THREE), [{"x": torch.randn(4, 1, 8, 8)}])
    with pytest.raises(CannotExportError, match=r"measures ranges on real rows, and there are none\. Give rows"):
        FORMATS["int8"].write(found, tmp_path, MANIFEST)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_native_code_answers_alike(tmp_path):
    rows = torch.randn(64, 1, 8, 8)
    found = written(Deployed(settled(Cnn(), rows), THREE), rows, tmp_path, ("aoti",))
    assert_same_answers(found, tmp_path, rows, ("aoti",))
    assert [path.name for path in tmp_path.iterdir()] == ["model.aoti.pt2"]


def test_native_code_wants_a_compiler(tmp_path, monkeypatch):
    found = traced(Deployed(Tied(), THREE), [{"x": torch.randn(4, 6)}])
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CannotExportError, match=r"needs a C\+\+ compiler, and none is on the path\. Install g\+\+"):
        FORMATS["aoti"].write(found, tmp_path, MANIFEST)


def onnx_of(path):
    import onnx

    return onnx.load(path)
