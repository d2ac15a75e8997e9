import pytest
import torch

from lightning_posttrain.batch import EvalBatch, count_classes, fits, to_logits, to_target


def test_predictions_of_ties_are_the_first_class():
    assert EvalBatch(torch.tensor([[1.0, 1.0, 0.0]]), torch.tensor([0])).predicted.tolist() == [0]


def test_log_probabilities_and_probabilities_agree():
    batch = EvalBatch(torch.randn(5, 3) * 20, torch.zeros(5, dtype=torch.long))
    torch.testing.assert_close(batch.log_probabilities.exp(), batch.probabilities)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_logits_are_at_least_float32(dtype):
    wanted = torch.float64 if dtype == torch.float64 else torch.float32
    assert to_logits(torch.ones(2, 3, dtype=dtype), "multiclass", "logits").dtype == wanted


@pytest.mark.parametrize("shape", [(4,), (4, 1)])
def test_one_binary_score_becomes_two_columns_with_the_same_probability(shape):
    z = torch.randn(4)
    expected = torch.stack([1 - z.sigmoid(), z.sigmoid()], 1)
    torch.testing.assert_close(to_logits(z.view(shape), "binary", "logits").softmax(1), expected)
    found = to_logits(z.sigmoid().view(shape), "binary", "probabilities").softmax(1)
    torch.testing.assert_close(found.float(), expected)


def test_probabilities_of_zero_and_one_stay_so():
    logits = to_logits(torch.tensor([0.0, 1.0]), "binary", "probabilities")
    assert logits.softmax(1).tolist() == [[1, 0], [0, 1]]


@pytest.mark.parametrize(
    ("shape", "task", "wanted"),
    [
        ((4, 3), "multiclass", True),
        ((4, 1), "multiclass", False),
        ((4,), "multiclass", False),
        ((5, 3), "multiclass", False),
        ((4, 3, 2), "multiclass", False),
        ((4,), "binary", True),
        ((4, 1), "binary", True),
        ((4, 2), "binary", True),
        ((4, 3), "binary", False),
    ],
)
def test_which_shapes_scores_can_have(shape, task, wanted):
    assert fits(torch.zeros(shape), 4, task) is wanted
    assert not fits(torch.zeros(shape, dtype=torch.long), 4, task)


def test_the_number_of_classes_of_one_binary_score_is_two():
    assert count_classes(torch.zeros(4, 1), "binary") == 2
    assert count_classes(torch.zeros(4, 7), "multiclass") == 7


def test_binary_targets_may_be_floats_or_bools():
    assert to_target(torch.tensor([[1.0], [0.0]]), "binary").tolist() == [1, 0]
    assert to_target(torch.tensor([True, False]), "multiclass").tolist() == [1, 0]


def test_targets_that_are_no_tensor_raise():
    with pytest.raises(ValueError, match=r"`target` is a list, wanted a tensor \(N,\)"):
        to_target([1, 2], "multiclass")
