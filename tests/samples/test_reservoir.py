import pytest
import torch

from lightning_posttrain.classification.batch import EvalBatch
from lightning_posttrain.samples.first_samples import FirstSamples
from lightning_posttrain.samples.reservoir import FixedSamples, IndexedSamples, RankedSamples
from lightning_posttrain.samples.selection import why_not
from lightning_posttrain.samples.selectors import ErrorsElseFixed, selector_of


def batches(labels, *, scores=None, usable=None, size=3, index=True, classes=None):
    labels = torch.tensor(labels)
    number = torch.arange(len(labels))
    scores = torch.zeros(len(labels), classes or int(labels.max()) + 1) if scores is None else torch.tensor(scores)
    valid = None if usable is None else torch.tensor(usable)
    for start in range(0, len(labels), size):
        rows = slice(start, start + size)
        kept = None if valid is None else valid[rows]
        yield EvalBatch(
            scores[rows], labels[rows], kept, number[rows] if index else None, number[rows].float()[:, None]
        )


def chosen(samples, stream):
    for batch in stream:
        samples.offer(batch)
    return samples.chosen()


def test_classes_come_before_repeats_of_a_class():
    found = chosen(FixedSamples(3), batches([0, 0, 0, 0, 1, 2, 0], classes=3))
    assert found.target.tolist() == [0, 1, 2]
    assert found.index == (0, 4, 5)
    assert found.inputs[:, 0].tolist() == [0, 4, 5]


def test_missing_classes_leave_their_room_to_others():
    assert chosen(FixedSamples(3), batches([0, 0, 1, 0], classes=3)).target.tolist() == [0, 0, 1]


def test_fewer_rows_than_wanted_are_all_kept():
    assert len(chosen(FixedSamples(8), batches([1, 0])).inputs) == 2


def test_rows_that_may_not_be_used_are_passed_over():
    assert chosen(FixedSamples(2), batches([0, 0, 1, 1], usable=[False, True, False, True])).index == (1, 3)


def test_the_choice_does_not_change_once_it_is_made():
    samples = FixedSamples(2)
    assert chosen(samples, batches([0, 1])).index == (0, 1)
    assert chosen(samples, batches([1, 0, 0, 1])).index == (0, 1)


def test_several_labels_are_spread_over_the_first_label_of_each_row():
    labels = torch.tensor([[1, 0], [1, 1], [0, 1], [0, 0]])
    batch = EvalBatch(torch.zeros(4, 2), labels, inputs=torch.arange(4.0)[:, None])
    assert chosen(FixedSamples(2), [batch]).inputs[:, 0].tolist() == [0, 2]


def test_the_batch_may_be_changed_afterwards():
    samples = FixedSamples(1)
    with torch.inference_mode():
        inputs = torch.zeros(1, 2)
        samples.offer(EvalBatch(torch.zeros(1, 2), torch.tensor([0]), inputs=inputs))
        inputs += 5
    found = samples.chosen()
    assert found.inputs.tolist() == [[0, 0]]
    assert not found.inputs.is_inference()
    assert found.index == (None,)


@pytest.mark.parametrize("make", [lambda: FixedSamples(2), lambda: IndexedSamples([0, 1])])
def test_the_first_that_is_kept_says_how_inputs_look(make):
    left_out = EvalBatch(torch.zeros(2, 2), torch.tensor([-1, 5]), index=torch.arange(2), inputs=torch.zeros(2, 7))
    found = chosen(make(), [left_out, *batches([0, 1], classes=2), left_out])
    assert found.inputs[:, 0].tolist() == [0, 1]
    assert chosen(make(), [left_out]) is None
    other = EvalBatch(torch.zeros(2, 2), torch.tensor([0, 1]), index=torch.tensor([0, 1]), inputs=torch.zeros(2, 7))
    assert chosen(make(), [*batches([0], classes=2), other]).inputs.shape == (1, 1)


def test_positions_are_taken_in_the_order_in_which_they_are_asked_for():
    found = chosen(IndexedSamples([5, 1, 99]), batches([0, 1, 2, 0, 1, 2]))
    assert found.index == (5, 1)
    assert found.target.tolist() == [2, 1]
    assert chosen(IndexedSamples([1]), batches([0, 1], index=False)) is None


SCORES = [[0.0, 1.0], [0.0, 3.0], [2.0, 0.0], [0.0, 2.0], [0.0, 9.0], [0.0, 3.0], [0.0, float("nan")]]
LABELS = [0, 0, 1, 0, 1, 0, 0]


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_the_most_confident_errors_are_those_of_a_full_sort_whatever_the_batches(size):
    found = chosen(RankedSamples(3), batches(LABELS, scores=SCORES, size=size))
    assert found.index == (1, 5, 2)  # 3.0, 3.0 and 2.0 between the classes; of equal ones the first
    assert found.inputs[:, 0].tolist() == [1, 5, 2]
    assert found.scores.tolist() == [SCORES[i] for i in (1, 5, 2)]


def test_a_cell_of_the_confusion_matrix():
    assert chosen(RankedSamples(3, (1, 0)), batches(LABELS, scores=SCORES)).index == (2,)
    assert chosen(RankedSamples(3, (1, 1)), batches(LABELS, scores=SCORES)).index == (4,)


def test_each_epoch_has_errors_of_its_own_and_none_where_all_is_right():
    samples = RankedSamples(2)
    assert chosen(samples, batches(LABELS, scores=SCORES)) is not None
    assert chosen(samples, batches([1], scores=[[0.0, 1.0]])) is None
    assert samples.chosen() is None


def test_first_samples_are_those_of_the_first_epoch():
    samples = FirstSamples(3)
    for _ in range(2):
        for batch in torch.arange(8.0).view(4, 2, 1):
            samples.take(batch)
        assert samples.chosen().inputs[:, 0].tolist() == [0, 1, 2]


def test_errors_of_each_epoch_and_where_they_are_too_few_some_of_each_class():
    scores = [[2.0, 0.0], [0.0, 2.0], [3.0, 0.0]]
    samples = ErrorsElseFixed(2)
    assert chosen(samples, batches([0, 1, 1], scores=scores)).index == (2, 0)
    assert chosen(samples, batches([0, 1, 0], scores=scores)).index == (0, 1)
    assert chosen(samples, batches([1, 0, 0], scores=scores)).index == (0, 1)
    unknown = chosen(ErrorsElseFixed(3), batches([0, 1, 1], scores=scores, index=False))
    assert unknown.inputs[:, 0].tolist() == [2.0, 0.0, 1.0]
    assert unknown.target.tolist() == [1, 0, 1]


def test_who_chooses():
    (batch,) = batches([0, 1])
    names = ("cat", "dog")
    assert isinstance(selector_of([3], "fixed", names, batch), IndexedSamples)
    assert isinstance(selector_of(2, "fixed", names, batch), FixedSamples)
    assert isinstance(selector_of(2, "errors", names, batch), RankedSamples)
    assert selector_of(2, ("dog", 0), names, batch)._cell == (1, 0)
    with pytest.raises(ValueError, match="'owl', wanted a class index or one of cat, dog"):
        selector_of(2, ("owl", 0), names, batch)


def test_what_cannot_be_explained_is_said_with_the_cure():
    assert why_not(torch.zeros(2, 3), None) == ""
    assert "inputs are not found" in why_not(None, None)
    assert "a dict with keys a" in why_not({"a": 1}, None)
    assert "kind 'image', and the inputs are a tensor (2, 3)" in why_not(torch.zeros(2, 3), "image")
