import json

import pytest

from lightning_posttrain.core.output.run_folder import RunFolder
from lightning_posttrain.report.findings import SHOWN, findings, headline
from tests.report.findings.simulated import write

ANCHORS = {
    "in-short", "what-goes-wrong", "look-at-them", "classes", "believed", "relies-on", "ensemble", "cost", "export",
    "training", "how-made",
}  # fmt: skip
COUNTS = [[63, 30, 3, 3], [3, 90, 3, 3], [3, 3, 90, 3], [3, 3, 3, 90]]
MATRIX = {"class_names": ["cat", "dog", "owl", "ant"], "counts": COUNTS, "nonfinite": 2, "out_of_range": 0}


def test_the_main_figure_is_first_and_warnings_go_before_the_rest(said, tmp_path):
    notes = ["log loss agrees with the module's test/loss to 1e-07"]
    said(
        confusion_matrix=MATRIX,
        classification_report={"notes": notes},
        export={"formats": [{"name": "pt", "files": [], "kept": False, "reason": "why", "rows": 0}]},
        torchmetrics={"values": {"mse": 1.0}},
    )
    found = findings(RunFolder(tmp_path), "test")
    assert [one.rule for one in found[:2]] == ["accuracy", "values"]
    levels = [one.level == "warn" for one in found[2:]]
    assert levels == sorted(levels, reverse=True)
    assert found[-1].rule == "agreement"
    assert {one.anchor for one in found} <= ANCHORS


def test_the_file_that_has_more_is_there(said, tmp_path):
    for found in said(confusion_matrix=MATRIX).values():
        assert (tmp_path / "posttrain" / found.file).is_file()


def test_a_record_of_another_form_costs_its_own_sentence_alone(said):
    found = said(confusion_matrix=MATRIX, ensemble={"strategies": [{"title": 1}], "chosen": "x"}, export=[1])
    assert "Nothing is said of ensemble: a record has another form (KeyError)." in found["ensemble"].text
    assert found["pairs"].level == "warn"


def test_numbers_are_numbers_that_json_takes(said):
    for found in said(confusion_matrix=MATRIX).values():
        json.dumps(dict(found.numbers))


@pytest.mark.parametrize(
    ("records", "line"),
    [
        (
            {"confusion_matrix": MATRIX},
            'test: 333 of 396 right (84 %, 80 to 88). Most confused: "cat" as "dog", 30 times.',
        ),
        (
            {"confusion_matrix": {"class_names": ["a", "b"], "counts": [[40, 0], [0, 40]]}},
            "test: 80 of 80 right (100 %, 95 to 100).",
        ),
        (
            {"confusion_matrix": {"class_names": ["a"], "counts": [[[1, 1], [1, 97]]], "rows": 100, "exact": 40}},
            "test: all labels right in 40 of 100 rows (40 %, 30 to 50).",
        ),
        ({"saliency": {}}, "test: no figures."),
        ({"confusion_matrix": {"class_names": ["a"], "counts": 3}}, "test: a record has another form (ValueError)."),
    ],
)
def test_the_line_for_the_console(tmp_path, records, line):
    for name, record in records.items():
        folder = write(tmp_path, name, record)
    assert headline(folder, "test") == line


def test_names_are_shown_on_one_line_whatever_they_hold(said, tmp_path):
    names = ["a\x1b[31m\nb", "x" * 200, "owl", "ant"]
    said(confusion_matrix={**MATRIX, "class_names": names})
    line = headline(RunFolder(tmp_path), "test")
    assert line.isprintable()
    assert len(line) < 200


def test_a_glance_is_nine_sentences():
    assert SHOWN == 9
