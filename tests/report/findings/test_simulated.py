"""How often something false is said where there is nothing to say, and how often what is there is said."""

import pytest
import torch

from lightning_posttrain.report.findings import findings, headline
from tests.report.findings.simulated import (
    MAX_RISK,
    calibrated,
    confidence_kept,
    overconfident,
    with_confusion,
    written,
)

CLAIMS = {"classes", "pairs", "overused", "calibration", "adjustment", "abstention", "thresholds"}


def kept_in_truth(probabilities, frozen):
    """Whether the rows that are answered are wrong as seldom as was asked for, by what they were drawn from."""
    confidence = probabilities.max(1).values
    answered = confidence >= frozen
    return not answered.any() or float((1 - confidence[answered]).mean()) <= MAX_RISK


def false_claims(home, classes, rows, generator):
    frozen = confidence_kept(*calibrated(rows, classes, generator))
    probabilities, target = calibrated(rows, classes, generator)
    folder = written(home, probabilities, target, frozen=frozen)
    found = {one.rule for one in findings(folder, "test") if one.level == "warn"} & CLAIMS
    assert ("Most confused" in headline(folder, "test")) == ("pairs" in found)
    true = set() if frozen is None or kept_in_truth(probabilities, frozen) else {"abstention"}
    return found - true


def rate(tmp_path, classes, rows, runs):
    generator = torch.Generator().manual_seed(classes * 10_000 + rows)
    return sum(bool(false_claims(tmp_path / str(k), classes, rows, generator)) for k in range(runs)) / runs


def test_a_run_in_which_nothing_is_to_be_said_says_nothing_false(tmp_path):
    assert rate(tmp_path, 10, 500, 60) <= 0.05


@pytest.mark.slow
@pytest.mark.parametrize("rows", [60, 500, 5000])
@pytest.mark.parametrize("classes", [3, 10, 100])
def test_of_200_runs_in_which_nothing_is_to_be_said_5_percent_at_most_say_anything_false(tmp_path, classes, rows):
    assert rate(tmp_path, classes, rows, 200) <= 0.05


@pytest.mark.parametrize(("classes", "rows"), [(3, 500), (10, 500), (100, 5000)])
def test_what_is_there_is_said_in_nine_of_ten_runs(tmp_path, classes, rows):
    generator = torch.Generator().manual_seed(classes)
    pairs = sure = 0
    for k in range(20):
        probabilities, target = calibrated(rows, classes, generator)
        confused = written(tmp_path / f"{k}a", with_confusion(probabilities, target, generator), target)
        pairs += 'Most confused: "class 0" as "class 1"' in headline(confused, "test")
        found = findings(written(tmp_path / f"{k}b", overconfident(probabilities), target), "test")
        sure += any(one.text.startswith("Too sure of itself") for one in found)
    assert pairs >= 18
    assert sure >= 18
