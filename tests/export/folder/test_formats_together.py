"""A folder with ONNX and a program of torch, of one network: both are loaded, and give the same answers."""

import numpy as np
import pytest
import torch
from torch import nn

from lightning_posttrain.export import check, load
from lightning_posttrain.export.decision import Decision
from lightning_posttrain.export.folder.writing import write_folder
from tests.export.folders import NAMES, WEIGHTS, expected, manifest, model

DECISION = Decision("multiclass", NAMES, confidence=0.6)


class Same(nn.Module):
    """What ``folders.model`` computes."""

    def __init__(self):
        super().__init__()
        self.weights = nn.Parameter(torch.from_numpy(WEIGHTS))

    def forward(self, x):
        probabilities = (x @ self.weights).softmax(1)
        top, found = probabilities.max(1)
        return probabilities, torch.where(top >= DECISION.confidence, found, -1)


@pytest.mark.slow
def test_both_formats_answer_the_same_and_check_says_so(tmp_path):
    def write(work):
        (work / "model.onnx").write_bytes(model(DECISION))
        batch = torch.export.Dim("batch", min=1, max=65536)
        program = torch.export.export(Same(), (torch.zeros(2, 2),), dynamic_shapes=({0: batch},))
        program.example_inputs = None
        torch.export.save(program, work / "model.pt2")

    write_folder(tmp_path / "export", manifest(DECISION), write)
    rows = np.random.default_rng(0).normal(size=(150, 2)).astype(np.float32)
    threads = torch.get_num_threads()
    for kind in ("onnx", "pt2"):
        answers = load(tmp_path / "export", format=kind)(rows)
        probabilities, decided = expected(rows, DECISION)
        np.testing.assert_allclose(answers.probabilities, probabilities, atol=1e-6)
        np.testing.assert_array_equal(answers.decision, decided)
    assert torch.get_num_threads() == threads
    with pytest.raises(ValueError, match="`providers` are onnxruntime's"):
        load(tmp_path / "export", format="pt2", providers=["CPUExecutionProvider"])
    np.save(tmp_path / "rows.npy", rows)
    report = check(tmp_path / "export", [tmp_path / "rows.npy"])
    assert report.ok
    assert [(found.format, found.counts.rows) for found in report.formats] == [("onnx", 0), ("pt2", 150)]
