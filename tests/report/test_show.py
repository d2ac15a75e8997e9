import subprocess
import sys

import pytest

from lightning_posttrain.__main__ import main
from lightning_posttrain.report import show_command
from tests.report.findings.simulated import write

MATRIX = {"class_names": ["cat", "dog"], "counts": [[180, 20], [30, 170]], "nonfinite": 0, "out_of_range": 0}
REPORT = {"accuracy": 0.875, "log_loss": 0.4, "intervals": {"accuracy": [0.8425, 0.905]}, "notes": []}


@pytest.fixture
def run(tmp_path):
    write(tmp_path, "confusion_matrix", MATRIX)
    write(tmp_path, "classification_report", REPORT)
    write(tmp_path, "confusion_matrix", MATRIX, "val")
    return tmp_path


def test_a_run_is_said_in_sentences_with_its_figures_and_where_the_report_is(run):
    code, text = show_command(run)
    lines = text.splitlines()
    assert code == 0
    assert lines[0] == "test: 350 of 400 right (88 %, 84 to 91)."
    assert any(line.startswith("+ 350 of 400 rows are right") for line in lines)
    assert "accuracy  0.8750  0.8425 to 0.9050" in lines
    assert f"Report: lightning-posttrain report {run}" in lines
    assert "Also:   --stage val" in lines
    (run / "posttrain" / "test" / "report.html").write_text("")
    assert f"Report: {run / 'posttrain' / 'test' / 'report.html'}" in show_command(run)[1].splitlines()


def test_another_stage_can_be_asked_for(run):
    assert show_command(run, stage="val")[1].startswith("val: 350 of 400 right")


def test_what_does_not_fit_at_a_glance_is_counted(run):
    few = {"faithfulness": {"methods": {"saliency": {"insertion": 0}, "random": {"insertion": 1}}, "samples": 4}}
    write(run, "saliency", {**few, "alarms": ["the borders hold much"], "samples": []})
    profile = {"parameters": 9, "count": {"total": 9, "unused_total": 3, "unused": ["a"]}, "spent": [
        {"name": "waiting", "kind": "data", "seconds": 50.0, "share": 0.5}], "wall": 100.0}  # fmt: skip
    write(run, "profile", profile, "fit")
    write(run, "torchmetrics", {"values": {"mse": 1.0}})
    totals = {"samples": 400, "suspects": 1, "wrong": 0.9, "variance": 0.09}
    write(run, "label_errors", {"totals": totals})
    write(run, "explanations", {"samples": [{"doubts": ["x"]}]})
    assert "more: --all" in show_command(run)[1]
    assert "more: --all" not in show_command(run, everything=True)[1]


@pytest.mark.parametrize("given", ["nowhere", "empty", "no figures"])
def test_a_folder_that_is_no_run_is_refused_with_code_2_and_a_sentence(tmp_path, given):
    (tmp_path / "empty").mkdir()
    (tmp_path / "no figures" / "posttrain").mkdir(parents=True)
    code, text = show_command(tmp_path / given)
    assert code == 2
    assert "wanted" in text


def test_a_stage_that_is_not_there_is_refused_with_those_that_are(run):
    assert show_command(run, stage="train") == (2, f"`stage` is 'train'; {str(run / 'posttrain')!r} has test, val.")


def test_the_command_prints_it(run, capsys):
    assert main(["show", str(run), "--stage", "val", "--all"]) == 0
    assert capsys.readouterr().out.startswith("val: 350 of 400 right")
    assert main(["show", str(run / "none")]) == 2
    assert "is no folder" in capsys.readouterr().err


def test_a_terminal_without_the_signs_of_a_name_shows_the_rest(tmp_path):
    write(tmp_path, "confusion_matrix", {**MATRIX, "class_names": ["猫", "dog"]})
    command = [sys.executable, "-W", "ignore", "-m", "lightning_posttrain", "show", str(tmp_path)]
    done = subprocess.run(
        command, capture_output=True, check=False, env={"PYTHONIOENCODING": "ascii", "PYTHONPATH": ":".join(sys.path)}
    )
    assert done.returncode == 0
    assert b'Always saying "?" would be right' in done.stdout
