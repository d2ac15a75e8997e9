import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchmetrics.functional import classification as tm

from lightning_posttrain.functional import add_confusion, classification_report
from lightning_posttrain.results import Confusion
from tests import reference


def confusion(actual, predicted, classes):
    counts = torch.zeros(classes, classes, dtype=torch.int64)
    everything = torch.ones(len(actual), dtype=torch.bool)
    add_confusion(counts, torch.as_tensor(actual), torch.as_tensor(predicted), everything)
    return Confusion(counts, tuple(map(str, range(classes))))


@st.composite
def labelled(draw):
    classes = draw(st.integers(2, 9))
    label = st.integers(0, classes - 1)
    rows = draw(st.lists(st.tuples(label, label), min_size=1, max_size=80))
    return classes, np.array(rows)


@given(labelled())
def test_every_figure_equals_scikit_learns(case):
    classes, rows = case
    actual, predicted = rows.T
    found = confusion(actual, predicted, classes)
    expected = reference.report(actual, predicted, classes)
    np.testing.assert_array_equal(found.counts.numpy(), expected["counts"])
    reference.assert_equal(classification_report(found), expected)


def test_figures_equal_torchmetrics_where_every_class_is_there():
    actual = torch.arange(500) % 5
    predicted = torch.where(torch.rand(500) < 0.7, actual, torch.randint(5, (500,)))
    found = classification_report(confusion(actual, predicted, 5))
    options = {"num_classes": 5, "average": "macro"}
    assert found.macro.f1 == pytest.approx(tm.multiclass_f1_score(predicted, actual, **options).item(), abs=1e-6)
    assert found.macro.precision == pytest.approx(
        tm.multiclass_precision(predicted, actual, **options).item(), abs=1e-6
    )
    torch.testing.assert_close(
        confusion(actual, predicted, 5).counts, tm.multiclass_confusion_matrix(predicted, actual, 5)
    )


def test_recall_of_a_class_without_rows_is_nan_and_stays_out_of_the_mean():
    found = classification_report(Confusion(torch.tensor([[3, 1], [0, 0]]), ("cat", "dog")))
    assert found.per_class.recall.isnan().tolist() == [False, True]
    assert found.macro.recall == found.balanced_accuracy == 0.75
    assert any("no rows of dog" in note for note in found.notes)


def test_a_class_never_predicted_has_precision_zero_and_is_named():
    found = classification_report(Confusion(torch.tensor([[4, 0], [2, 0]]), ("cat", "dog")))
    assert found.per_class.precision.tolist() == pytest.approx([4 / 6, 0])
    assert any("never predicted: dog" in note for note in found.notes)


def test_figures_of_no_rows_are_nan_and_json_none():
    found = classification_report(Confusion(torch.zeros(2, 2, dtype=torch.int64), ("a", "b")))
    assert np.isnan(found.accuracy)
    assert found.to_dict()["accuracy"] is None
    assert found.notes == ("no rows were counted",)


def test_counts_past_the_precision_of_float32_stay_exact():
    big = 2**24 + 1
    found = classification_report(Confusion(torch.tensor([[big, 1], [0, big]]), ("a", "b")))
    assert found.support.tolist() == [big + 1, big]
    assert found.accuracy == pytest.approx(2 * big / (2 * big + 1), abs=1e-15)


def test_the_report_prints_as_a_table():
    text = str(classification_report(Confusion(torch.tensor([[3, 1], [0, 4]]), ("cat", "dog"))))
    assert "precision" in text.splitlines()[0]
    assert "cat" in text
    assert "accuracy 0.8750" in text
