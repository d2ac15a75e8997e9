import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchmetrics.functional import classification as tm

from lightning_posttrain.classification.functional.confusion import add_confusion
from lightning_posttrain.classification.functional.report import Findings, classification_report
from lightning_posttrain.classification.result.confusion import Confusion, LabelConfusion
from lightning_posttrain.classification.result.scores import Losses
from tests import reference


def confusion(actual, predicted, classes):
    counts = torch.zeros(1, classes, classes, dtype=torch.int64)
    everything = torch.ones(len(actual), dtype=torch.bool)
    add_confusion(counts, torch.as_tensor(actual), torch.as_tensor(predicted), everything)
    return Confusion(counts[0], tuple(map(str, range(classes))))


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


@given(labelled(), st.sampled_from([0.5, 2.0]))
def test_f_beta_equals_scikit_learns(case, beta):
    classes, rows = case
    actual, predicted = rows.T
    from sklearn.metrics import fbeta_score

    labels = np.union1d(actual, predicted)
    expected = fbeta_score(actual, predicted, beta=beta, labels=labels, average="macro", zero_division=0)
    report = classification_report(confusion(actual, predicted, classes), beta=beta)
    assert report[f"f{beta:g}_macro"] == pytest.approx(expected, abs=1e-12)


def test_figures_equal_torchmetrics_where_every_class_is_there():
    actual = torch.arange(500) % 5
    predicted = torch.where(torch.rand(500) < 0.7, actual, torch.randint(5, (500,)))
    found = classification_report(confusion(actual, predicted, 5))
    options = {"num_classes": 5, "average": "macro"}
    for name, theirs in {
        "f1_macro": tm.multiclass_f1_score,
        "precision_macro": tm.multiclass_precision,
        "specificity_macro": tm.multiclass_specificity,
        "jaccard_macro": tm.multiclass_jaccard_index,
    }.items():
        assert found[name] == pytest.approx(theirs(predicted, actual, **options).item(), abs=1e-6)
    torch.testing.assert_close(
        confusion(actual, predicted, 5).counts, tm.multiclass_confusion_matrix(predicted, actual, 5)
    )


def test_a_binary_task_names_the_figures_of_class_one_without_its_name():
    found = classification_report(Confusion(torch.tensor([[5, 1], [2, 2]]), ("no", "yes")), binary=True)
    assert found["precision"] == pytest.approx(2 / 3)
    assert found["recall"] == 0.5
    assert found["f1"] == pytest.approx(4 / 7)
    assert found["specificity"] == pytest.approx(5 / 6)


def test_recall_of_a_class_without_rows_is_nan_and_stays_out_of_the_mean():
    found = classification_report(Confusion(torch.tensor([[3, 1], [0, 0]]), ("cat", "dog")))
    assert found.per_class["recall"].isnan().tolist() == [False, True]
    assert found["recall_macro"] == found["balanced_accuracy"] == 0.75
    assert any("no rows of dog" in note for note in found.notes)


def test_a_class_never_predicted_has_precision_zero_and_is_named():
    found = classification_report(Confusion(torch.tensor([[4, 0], [2, 0]]), ("cat", "dog")))
    assert found.per_class["precision"].tolist() == pytest.approx([4 / 6, 0])
    assert any("never predicted: dog" in note for note in found.notes)


@pytest.mark.parametrize("resamples", [0, 100])
def test_figures_of_no_rows_are_nan_and_json_none(resamples):
    for nothing in (
        Confusion(torch.zeros(2, 2, dtype=torch.int64), ("a", "b")),
        LabelConfusion(torch.zeros(2, 2, 2, dtype=torch.int64), ("a", "b")),
    ):
        found = classification_report(nothing, resamples=resamples)
        assert np.isnan(found["accuracy"])
        assert found.to_dict()["accuracy"] is None
        assert found.notes == ("no rows were counted",)


def test_counts_past_the_precision_of_float32_stay_exact():
    big = 2**24 + 1
    found = classification_report(Confusion(torch.tensor([[big, 1], [0, big]]), ("a", "b")))
    assert found.support.tolist() == [big + 1, big]
    assert found["accuracy"] == pytest.approx(2 * big / (2 * big + 1), abs=1e-15)


def test_correlations_of_very_unequal_classes_are_exact():
    counts = torch.tensor([[99_990_000, 9_000], [900, 100]])
    rows = [[int(n) for n in line] for line in counts.tolist()]
    (tn, fp), (fn, tp) = rows
    exact = (tp * tn - fp * fn) / ((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)) ** 0.5
    found = classification_report(Confusion(counts, ("a", "b")))
    assert found["mcc"] == pytest.approx(exact, rel=1e-9)


def test_the_report_prints_as_a_table():
    text = str(classification_report(Confusion(torch.tensor([[3, 1], [0, 4]]), ("cat", "dog")), resamples=50))
    assert "precision" in text.splitlines()[0]
    assert "cat" in text
    assert any(line.startswith("accuracy") and "0.8750  (" in line for line in text.splitlines())


def test_infinite_losses_are_said():
    one = torch.ones(1)
    found = Findings(Confusion(torch.eye(2).long(), ("a", "b")), Losses(one, one, torch.tensor([3])))
    assert any("3 rows gave their own class probability 0" in alert for alert in classification_report(found).alerts)
