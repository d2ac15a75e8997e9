import json

MATRIX = {"class_names": ["a", "b"], "counts": [[50, 5], [5, 40]]}


def test_rows_that_are_in_no_figure_are_said_with_the_cause(said):
    found = said(confusion_matrix={**MATRIX, "nonfinite": 3, "out_of_range": 2})["left_out"]
    assert found.text.startswith("5 rows (4.8 %) are in no figure: 3 as their scores are NaN or infinite; 2 as their")
    assert "left_out" not in said(confusion_matrix={**MATRIX, "nonfinite": 0, "out_of_range": 0})


def test_a_report_alone_says_them_too(said):
    report = {"per_class": [{"class": "a", "support": 40, "recall": 1.0}], "notes": ["3 rows left out: their target"]}
    assert "3 rows left out" in said(classification_report=report)["left_out"].text


def test_figures_that_are_the_module_s_own_are_said(said):
    notes = ["log loss agrees with the module's test/loss to 1e-07"]
    found = said(confusion_matrix=MATRIX, classification_report={"notes": notes})["agreement"]
    assert found.level == "good"
    assert found.text == "Log loss agrees with the module's test/loss to 1e-07 (on 100 rows)."
    assert "agreement" not in said(confusion_matrix=MATRIX, classification_report={"notes": []})


def test_a_contradiction_is_a_warning(said, tmp_path):
    said(confusion_matrix=MATRIX)
    text = "the module logs test/acc 0.5, and the accuracy of the same rows is 0.9"
    (tmp_path / "posttrain" / "run.json").write_text(json.dumps({"remarks": [{"text": text, "stage": "test"}]}))
    found = said()["agreement"]
    assert found.level == "warn"
    assert text in found.text
