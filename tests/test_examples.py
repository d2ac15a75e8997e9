import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lightning_posttrain.export import load

ROOT = Path(__file__).parent.parent


def run(name, folder, *arguments):
    command = [sys.executable, str(ROOT / "examples" / f"{name}.py"), "--folder", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def number(out, begin):
    line = next(line for line in out.splitlines() if line.startswith(begin))
    return float(line.removeprefix(begin).split()[0])


@pytest.mark.slow
def test_digits_reach_97_percent_and_say_where_everything_is(tmp_path):
    out = run("digits", tmp_path)
    assert number(out, "accuracy ") >= 0.97
    folder = Path(out.split("figures: ")[1].splitlines()[0])
    for stage in ("val", "test"):
        for name in (
            "confusion_matrix.png",
            "roc_curve.png",
            "saliency.png",
            "classification_report.csv",
            "confusion_matrix.json",
            "calibration/reliability.png",
            "hard_examples/confident_errors.png",
        ):
            assert (folder / stage / name).stat().st_size > 0
    assert f"tensorboard --logdir {folder.parent}" in out


@pytest.mark.slow
def test_labels_that_were_made_wrong_are_found(tmp_path):
    out = run("label_errors", tmp_path)
    assert number(out, "average precision of the rank") >= 0.8
    assert (tmp_path / "label_errors/version_0/posttrain/val/label_errors/suspects.csv").exists()


@pytest.mark.slow
def test_chosen_thresholds_raise_the_macro_f1_of_rare_labels_on_test(tmp_path):
    out = run("rare_labels", tmp_path)
    before, after = (number(out, f"macro F1 on test at {what}") for what in ("0.5", "chosen thresholds"))
    assert after > before + 0.05


@pytest.mark.slow
def test_a_network_that_reads_a_sticker_is_found_out(tmp_path):
    out = run("shortcut", tmp_path)
    assert number(out.replace("%", ""), "SHAP: the sticker adds ") > 50
    assert "100% in validation, with stickers, 0% in the test" in out
    assert Path(out.split("The picture: ")[1].splitlines()[0]).stat().st_size > 0


@pytest.mark.slow
def test_diagnoses_have_rules_and_a_tree_that_agrees(tmp_path):
    out = run("tabular", tmp_path)
    assert out.count("  IF ") == 4
    agrees = next(line for line in out.splitlines() if line.startswith("A decision tree"))
    assert int(agrees.split("network on ")[1].split("%")[0]) >= 80
    folder = tmp_path / "tumours/version_0/posttrain/test"
    for name in ("surrogate.png", "explanations.png", "explanations/rules.png", "explanations/importance.png"):
        assert (folder / name).stat().st_size > 0


@pytest.mark.slow
def test_seeds_are_worth_more_than_the_best_of_them_and_their_weights_have_no_average(tmp_path):
    out = run("ensemble", tmp_path)
    one_run, seeds = out.split("Networks of 6 seeds, on test")
    assert "uniform soup" in one_run
    assert "uniform soup" not in seeds
    assert "No soup: the average of all weights has log loss " in seeds
    for table in (one_run, seeds):
        assert number(table, "stacking  ") < number(table, "best checkpoint  ")
    assert number(seeds, "mean of logits, temperature") < number(seeds, "best checkpoint, temperature") - 0.01
    folder = Path(out.split("figures: ")[1].splitlines()[0])
    for name in (
        "ensemble/strategies.png",
        "ensemble/members.png",
        "ensemble/figures.csv",
        "of_ensemble/hard_examples/highest_loss.png",
    ):
        assert (folder / "test" / name).stat().st_size > 0
    network = torch.load(out.split(" says ")[0].splitlines()[-1], weights_only=True)
    assert len(network["names"]) == 6


@pytest.mark.slow
def test_a_search_says_who_won_and_what_can_be_had_behind_it(tmp_path):
    out = run("tuning", tmp_path, "--trials", "12", "--repeats", "2")
    assert "At 12 trials each, 2 times: on validation " in out
    assert "TPE is ahead in " in out
    best = Path(out.split("--config: ")[1].splitlines()[0])
    assert "model:\n  lr: " in best.read_text()
    assert f"tensorboard --logdir {best.parent}" in out
    assert "On test it has test/loss " in out
    knobs, alone = (float(word) for word in re.findall(r"0\.\d{4}", out.splitlines()[-1]))
    assert knobs < alone
    for name in ("parallel_coordinates.png", "slices.png", "history.png", "trials.csv"):
        assert (best.parent / name).stat().st_size > 0


@pytest.mark.slow
def test_what_is_deployed_answers_as_tested_and_ends_well(tmp_path):
    out = run("deploy", tmp_path)
    for file in ("model.onnx", "model.pt2"):
        assert f"{file} gives the answers that were tested: 0 of 500 labels flip" in out
    assert "is not kept" not in out
    assert "calibrated: temperature " in out
    answers = re.findall(r"^ +\d  (digit \d) ", out, flags=re.M)
    assert answers == [f"digit {number}" for number in range(5)]
    assert "It says: digit 0, with probability " in out
    assert "Ended: 1 of 1 accepted requests answered, exit code 0" in out
    folder = Path(out.split("lightning-posttrain serve ")[1].splitlines()[0])
    assert {each.name for each in folder.iterdir()} == {
        "model.onnx", "model.pt2", "weights.safetensors", "manifest.json", "README.md", "MLmodel",
    }  # fmt: skip
    assert load(folder).manifest.decision.confidence is not None


@pytest.mark.slow
def test_three_networks_end_with_the_table_that_papers_print(tmp_path):
    out = run("compare", tmp_path)
    head, *rows = out[out.index("\nrun  ") :].strip().splitlines()[:4]
    assert head.split("  ")[0] == "run"
    for column in ("accuracy", "95 % interval", "parameters", "layers", "FLOPs", "training"):
        assert column in head
    assert [row.split()[0] for row in rows] == ["mlp", "cnn", "vit"]
    assert all(float(row.split()[1]) > 0.85 for row in rows)
    by_hand = {"mlp": 2 * (64 * 128 + 128 * 10), "cnn": 2 * (9 * 16 * 64 + 144 * 32 * 16 + 288 * 64 * 4 + 640)}
    for name, flops in by_hand.items():
        record = json.loads((tmp_path / name / "version_0/posttrain/test/profile.json").read_text())
        assert record["flops"] == flops
    assert (tmp_path / "compared/pareto.png").stat().st_size > 0
    assert (tmp_path / "cnn/version_0/posttrain/val/feature_maps.png").stat().st_size > 0
