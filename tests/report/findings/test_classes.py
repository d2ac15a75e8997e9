import pytest
from scipy.stats import beta


def report(*classes):
    return {"per_class": [{"class": name, "support": rows, "recall": right / rows} for name, right, rows in classes]}


def test_a_class_that_is_worse_than_the_mean_at_once_with_all_others_is_named(said):
    found = said(classification_report=report(("a", 95, 100), ("b", 95, 100), ("c", 60, 100)))["classes"]
    assert found.level == "warn"
    assert '"c" 60 of 100 (60 %, at most 73 %); of all 300 rows 83 % are' in found.text
    assert found.numbers == {"c": pytest.approx(beta.ppf(1 - 0.01 / 3, 61, 40), abs=1e-9)}


def test_the_worst_class_is_first_and_three_are_named(said):
    weak = [(f"weak {k}", 10 * k, 100) for k in range(1, 6)]
    found = said(classification_report=report(*weak, *((f"good {k}", 99, 100) for k in range(6))))["classes"]
    assert found.text.index('"weak 1"') < found.text.index('"weak 2"') < found.text.index("and 2 more")


def test_a_class_that_may_be_as_good_as_the_others_is_not_named(said):
    found = said(classification_report=report(("a", 95, 100), ("b", 95, 100), ("c", 88, 100)))["classes"]
    assert found.level == "info"
    assert "No class is told apart from the mean of 93 %: 3 classes, 100 to 100 rows each" in found.text


def test_a_difference_without_weight_is_not_named_however_sure(said):
    many = report(("a", 900_000, 1_000_000), ("b", 897_000, 1_000_000))
    assert said(classification_report=many)["classes"].level == "info"


def test_classes_with_too_few_rows_are_said_to_have_them(said):
    few = report(*((f"class {k}", 1, 2) for k in range(30)))
    assert "the 30 classes have too few rows to say" in said(classification_report=few)["classes"].text
