import pytest
import torch
from scipy.stats import binomtest

from lightning_posttrain.classification.result.confusion import LabelConfusion
from lightning_posttrain.torchmetrics.result import MetricValues

NAMES = ["cat", "dog"]


def matrix(*rows):
    return {"class_names": NAMES, "counts": list(rows)}


def test_the_main_figure_has_its_interval_and_its_rows(said):
    found = said(confusion_matrix=matrix([180, 20], [30, 170]))["accuracy"]
    ends = binomtest(350, 400).proportion_ci(method="exact")
    assert found.text.startswith("350 of 400 rows are right (88 %, 95 % interval 84 to 91).")
    assert [found.numbers["low"], found.numbers["high"]] == pytest.approx([ends.low, ends.high])
    assert found.level == "good"


def test_the_interval_is_the_one_that_the_report_has(said):
    report = {"accuracy": 0.875, "intervals": {"accuracy": [0.8, 0.95]}, "per_class": [], "notes": []}
    assert (
        "80 to 95" in said(confusion_matrix=matrix([180, 20], [30, 170]), classification_report=report)["accuracy"].text
    )


def test_an_interval_without_width_is_replaced_by_the_exact_one(said):
    report = {"accuracy": 1.0, "intervals": {"accuracy": [1.0, 1.0]}, "per_class": [], "notes": []}
    found = said(confusion_matrix=matrix([20, 0], [0, 20]), classification_report=report)["accuracy"]
    assert found.numbers["low"] == pytest.approx(binomtest(40, 40).proportion_ci(method="exact").low)


def test_a_model_that_is_no_better_than_the_commonest_class_is_said_to_be(said):
    found = said(confusion_matrix=matrix([180, 0], [20, 0]))["accuracy"]
    assert found.level == "warn"
    assert 'always saying "cat", the commonest class, is right in 90 %' in found.text


def test_few_rows_are_said_and_nothing_is_concluded_from_them(said):
    found = said(confusion_matrix=matrix([14, 0], [14, 0]))
    assert set(found) == {"accuracy"}
    assert "28 rows are too few" in found["accuracy"].text
    assert "too few" not in said(confusion_matrix=matrix([30, 0], [0, 30]))["accuracy"].text


def test_labels_are_counted_by_row_and_by_label(said):
    record = LabelConfusion(torch.tensor([[[5, 5], [5, 85]]] * 2), ("a", "b"), rows=100, exact=40).to_dict()
    found = said(confusion_matrix=record, classification_report={"hamming_loss": 0.25, "accuracy": 0.4})
    assert "40 of 100 rows have all their labels right (40 %" in found["accuracy"].text
    assert "Label by label, 75 % are right" in found["accuracy"].text
    assert "classes" not in found


def test_positions_of_one_sample_have_no_interval(said):
    found = said(confusion_matrix=matrix([900, 100], [10, 990]), classification_report={"positions": True})
    assert set(found) == {"accuracy"}
    assert "95 % of 2,000 positions are right. No interval" in found["accuracy"].text


def test_metrics_of_a_run_without_classes_are_said_with_the_rows(said, tmp_path):
    values = MetricValues({"mse": torch.tensor(1.4735), "r2": torch.tensor(torch.nan)}, None, {}).to_dict()
    found = said(torchmetrics=values)["values"]
    assert found.text.startswith("mse 1.474; how many rows is in no file.")
    (tmp_path / "posttrain" / "run.json").write_text('{"stages": {"test": {"rows": 400}}}')
    assert said(torchmetrics=values)["values"].text.startswith("mse 1.474 on 400 rows.")
    assert "values" not in said(torchmetrics=MetricValues({}, None, {"mse": "no rows"}).to_dict())
