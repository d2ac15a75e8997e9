import pytest
import torch

from lightning_posttrain.classification.batch import EvalBatch
from lightning_posttrain.classification.reading import ClassReading
from lightning_posttrain.classification.tasks import count_classes, fits, to_logits, to_rows, to_target
from lightning_posttrain.core.capture.loaders import Rows
from lightning_posttrain.core.stream.reading import Given


def test_predictions_of_ties_are_the_first_class():
    assert EvalBatch(torch.tensor([[1.0, 1.0, 0.0]]), torch.tensor([0])).predicted.tolist() == [0]


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
    ("shape", "target", "task", "wanted"),
    [
        ((4, 3), (4,), "multiclass", True),
        ((4, 1), (4,), "multiclass", False),
        ((4,), (4,), "multiclass", False),
        ((5, 3), (4,), "multiclass", False),
        ((4, 3, 2), (4,), "multiclass", False),
        ((4,), (4,), "binary", True),
        ((4, 1), (4,), "binary", True),
        ((4, 2), (4,), "binary", True),
        ((4, 3), (4,), "binary", False),
        ((4, 3, 8, 6), (4, 8, 6), "multiclass", True),
        ((4, 8, 6, 3), (4, 8, 6), "multiclass", False),
        ((4, 8, 6), (4, 8, 6), "multiclass", False),
        ((4, 8, 6), (4, 8, 6), "binary", True),
        ((4, 1, 8, 6), (4, 8, 6), "binary", True),
        ((4, 2, 8, 6), (4, 8, 6), "binary", True),
        ((4, 5), (4, 5), "multilabel", True),
        ((4, 5, 8, 6), (4, 5, 8, 6), "multilabel", True),
        ((4, 5), (4,), "multilabel", False),
    ],
)
def test_which_shapes_scores_can_have(shape, target, task, wanted):
    assert fits(torch.zeros(shape), torch.Size(target), task) is wanted
    assert not fits(torch.zeros(shape, dtype=torch.long), torch.Size(target), task)


def test_the_number_of_classes_of_one_binary_score_is_two():
    assert count_classes(torch.zeros(4, 1), "binary") == 2
    assert count_classes(torch.zeros(4, 7), "multiclass") == 7


def test_binary_targets_may_be_floats_or_bools():
    assert to_target(torch.tensor([[1.0], [0.0]]), "binary").tolist() == [1, 0]
    assert to_target(torch.tensor([True, False]), "multiclass").tolist() == [1, 0]


def test_targets_that_are_no_tensor_raise():
    with pytest.raises(ValueError, match=r"`target` is a list, wanted a tensor"):
        to_target([1, 2], "multiclass")


def test_multilabel_targets_have_a_column_for_each_label():
    assert to_target(torch.tensor([[1.0, 0.0]]), "multilabel").tolist() == [[1, 0]]
    with pytest.raises(ValueError, match=r"shape \(2,\), wanted 0 or 1 for each label \(N, L\)"):
        to_target(torch.tensor([1, 0]), "multilabel")


def test_positions_of_a_segmentation_become_rows():
    scores = torch.randn(2, 3, 4, 5)
    target = torch.randint(3, (2, 4, 5))
    rows, flat = to_rows(scores, target, "multiclass")
    assert torch.equal(rows[27], scores[1, :, 1, 2])
    assert flat[27] == target[1, 1, 2]
    labels = torch.randint(2, (2, 3, 4, 5))
    rows, flat = to_rows(scores, labels, "multilabel")
    assert torch.equal(rows[27], scores[1, :, 1, 2])
    assert torch.equal(flat[27], labels[1, :, 1, 2])


def test_multilabel_probabilities_become_log_odds():
    p = torch.tensor([[0.2, 0.5, 1.0]])
    torch.testing.assert_close(to_logits(p, "multilabel", "probabilities").sigmoid().float(), p)


def test_several_labels_are_predicted_above_one_half():
    batch = EvalBatch(torch.tensor([[0.1, 0.0, -1.0, float("nan")]]), torch.tensor([[1, 0, 0, 1]]))
    assert batch.predicted.tolist() == [[1, 0, 0, 0]]
    assert batch.counted.tolist() == [[True, True, True, False]]


@pytest.mark.parametrize(("task", "shape"), [("multiclass", (2, 3, 4, 5)), ("multilabel", (2, 3, 4, 5))])
def test_all_positions_of_a_sample_that_is_repeated_are_left_out(task, shape):
    target = torch.zeros(shape if task == "multilabel" else (2, 4, 5), dtype=torch.long)
    given = Given(target, target, None)
    rows = Rows(torch.tensor([True, False]), torch.tensor([0, 1]))
    batch = ClassReading(task=task).batch(torch.randn(shape), given, rows)
    each = batch.valid.reshape(2, -1)
    assert bool(each[0].all())
    assert not bool(each[1].any())
    assert batch.index.tolist() == [0, 1]
    assert batch.sides == (4, 5)
