"""What is shipped decides as its settings say, worked out by hand."""

import numpy as np
import pytest
import torch
from scipy.special import expit, softmax
from torch import nn

from lightning_posttrain.calibration import IsotonicCalibration, TemperatureScaling, VectorScaling
from lightning_posttrain.export.decision import Decision
from lightning_posttrain.export.program import CannotExportError, Deployed


def of(task="multiclass", network=None, calibrator=None, scores="logits", uint8=False, **decision):
    settings = {"calibrator": calibrator, "scores": scores, "uint8": uint8}
    names = ("no", "yes") if task == "binary" else ("a", "b", "c")[: len(decision.get("thresholds", "abc"))]
    return Deployed(network or nn.Identity(), Decision(task, names, **decision), **settings)


def test_thresholds_apply_to_probabilities_before_they_are_calibrated():
    scores = torch.tensor([-1.0, -0.5, 0.5])
    module = of("binary", calibrator=TemperatureScaling(10.0, "binary"), thresholds=(0.3,))
    probabilities, decision = module(scores)
    assert decision.tolist() == (expit(scores.numpy()) >= 0.3).astype(int).tolist() == [0, 1, 1]
    np.testing.assert_allclose(probabilities[:, 1], expit(scores.numpy() / 10), rtol=1e-6)


def test_confidence_is_that_of_the_network_itself():
    scores = torch.tensor([[0.0, 3.0], [0.0, 1.0]])
    module = of(calibrator=TemperatureScaling(50.0, "multiclass"), confidence=0.8)
    assert module(scores)[1].tolist() == [1, -1]
    assert float(module(scores)[0].max()) < 0.8


def test_a_binary_task_has_two_columns_and_no_answer_where_it_is_not_sure():
    module = of("binary", confidence=0.7)
    probabilities, decision = module(torch.tensor([[-2.0], [0.1], [2.0]]))
    assert probabilities.shape == (3, 2)
    assert decision.tolist() == [0, -1, 1]
    pairs = module(torch.tensor([[2.0, 0.0], [0.0, 0.1], [0.0, 2.0]]))
    torch.testing.assert_close(pairs[0], probabilities)
    assert pairs[1].tolist() == [0, -1, 1]


@pytest.mark.parametrize("threshold", [0.1, 0.3, 1 / 3, 0.7, float(np.float32(0.6))])
def test_a_threshold_lies_between_the_same_float32_numbers_as_in_float64(threshold):
    near = np.float32(threshold)
    chances = np.array([np.nextafter(near, np.float32(0)), near, np.nextafter(near, np.float32(1))])
    decided = of("binary", scores="probabilities", thresholds=(threshold,))(torch.tensor(chances))[1]
    assert decided.tolist() == (chances.astype(np.float64) >= threshold).astype(int).tolist()


def test_positions_of_a_segmentation_are_decided_each():
    scores = torch.randn(2, 3, 4, 5)
    probabilities, decision = of(calibrator=VectorScaling(torch.ones(3), torch.zeros(3), "multiclass"))(scores)
    np.testing.assert_allclose(probabilities, softmax(scores.numpy(), 1), rtol=1e-5)
    assert torch.equal(decision, scores.argmax(1))
    binary = of("binary", thresholds=(0.4,))(scores[:, :1])
    assert [tuple(part.shape) for part in binary] == [(2, 2, 4, 5), (2, 4, 5)]
    labels = of("multilabel", thresholds=(0.2, 0.5, 0.9))(scores)[1]
    wanted = expit(scores.numpy()) >= np.array([0.2, 0.5, 0.9]).reshape(1, 3, 1, 1)
    np.testing.assert_array_equal(labels, wanted)


def test_half_precision_is_worked_out_in_float32():
    scores = torch.randn(4, 3).half()
    torch.testing.assert_close(of()(scores)[0], scores.float().softmax(1), rtol=0, atol=0)


def test_mean_and_std_are_by_channel_of_the_first_floats():
    images, numbers = torch.rand(2, 3, 4, 4), torch.arange(2)

    class Both(nn.Module):
        def forward(self, number, image):
            return image.mean((2, 3)) + number[:, None]

    module = of(network=Both(), mean=(0.1, 0.2, 0.3), std=(1.0, 2.0, 3.0))
    shaped = [torch.tensor(value).view(1, 3, 1, 1) for value in ((0.1, 0.2, 0.3), (1.0, 2.0, 3.0))]
    wanted = ((images - shaped[0]) / shaped[1]).mean((2, 3)) + numbers[:, None]
    torch.testing.assert_close(module.raw_scores(numbers, images), wanted)
    with pytest.raises(ValueError, match="`mean` has 3 numbers, and the input has shape \\(2, 1, 4, 4\\)"):
        module(numbers, images[:, :1])


def test_scores_of_a_step_are_decided_by_the_same_head():
    module = of(network=nn.Linear(4, 3), confidence=0.4)
    rows = torch.randn(5, 4)
    for a, b in zip(module(rows), module.head(module.network(rows)), strict=True):
        assert torch.equal(a, b)


def test_it_tells_how_it_decides_in_plain_values():
    isotonic = IsotonicCalibration(torch.tensor([0.0, 1.0]), torch.tensor([0.25, 0.75]), "binary")
    told = of("binary", calibrator=isotonic, calibration={"rows": 120}, thresholds=(0.3,)).describe()
    assert told.calibration == {
        "method": "isotonic",
        "words": isotonic.describe(),
        "parameters": {"x": [0.0, 1.0], "y": [0.25, 0.75]},
        "rows": 120,
    }
    assert told.thresholds == (0.3,)


def test_a_result_that_is_no_tensor_is_refused_with_what_to_pass():
    class Two(nn.Module):
        def forward(self, x):
            return {"logits": x}

    with pytest.raises(
        CannotExportError, match=r"gives a dict, wanted a tensor\. Pass forward_fn=lambda module, inputs"
    ):
        of(network=Two())(torch.zeros(2, 3))
