import numpy as np
import pytest
from scipy.stats import binom, binomtest

from lightning_posttrain.report.findings.calibration import Trust, binned

CLASSES = {"per_class": [{"class": k, "support": 500, "recall": 0.8} for k in "abc"]}
TWO = {"per_class": [{"class": k, "support": 500, "recall": 0.8} for k in "ab"]}


def bins(*rows):
    counts, said, true = zip(*rows, strict=True)
    return {"rows": [0, *counts], "confidence": [None, *said], "accuracy": [None, *true]}


def record(before, after=None, **more):
    return {"before": before, "after": after, "kept": after is not None, "method": "temperature", **more}


FINE, OVER = bins((500, 0.9, 0.9), (1000, 0.75, 0.75)), bins((500, 0.95, 0.9), (1000, 0.85, 0.75))
BENT = bins((500, 0.9, 1.0), (500, 0.7, 0.6))


def test_a_model_that_is_too_sure_is_said_to_be_with_the_size_and_its_interval(said):
    found = said(classification_report=CLASSES, calibration=record(OVER))["calibration"]
    assert found.level == "warn"
    assert found.text.startswith("Too sure of itself (overconfident): it says 88.3 % on average and is right in 80.0 %")
    assert "of 1,500 rows (8.3 points, 95 % interval 6.3 to 10.4)" in found.text
    ends, sure = binomtest(1200, 1500).proportion_ci(method="exact"), (0.95 * 500 + 0.85 * 1000) / 1500
    assert [found.numbers["low"], found.numbers["high"]] == pytest.approx([sure - ends.high, sure - ends.low])


def test_a_model_that_is_not_sure_enough_is_said_to_be(said):
    found = said(classification_report=CLASSES, calibration=record(bins((1500, 0.7, 0.8))))["calibration"]
    assert found.text.startswith("Not sure enough (underconfident)")


def test_a_calibrated_model_is_not_warned_of(said):
    found = said(classification_report=CLASSES, calibration=record(FINE, FINE))
    assert found["calibration"].level == "good"
    assert "not shown to be off" in found["calibration"].text
    assert "adjustment" not in found


def test_a_distance_that_has_no_weight_is_not_warned_of(said):
    off = bins((4_000_000, 0.903, 0.9))
    assert said(classification_report=CLASSES, calibration=record(off))["calibration"].level == "info"


def test_a_model_that_is_off_both_ways_is_said_to_be_off_in_places(said):
    found = said(classification_report=CLASSES, calibration=record(BENT))["calibration"]
    assert found.level == "warn"
    assert "off in places" in found.text


@pytest.mark.parametrize(
    ("record", "words", "level"),
    [
        (
            record(OVER, FINE, parameters={"temperature": 1.8}),
            "Temperature 1.80, fitted on validation, mends that",
            "good",
        ),
        (record(OVER, OVER), "does not mend all of that", "info"),
        ({**record(OVER, OVER), "kept": False, "reason": "too few"}, "is not kept: too few", "info"),
    ],
)
def test_what_a_temperature_did_is_said(said, record, words, level):
    found = said(classification_report=CLASSES, calibration=record)["adjustment"]
    assert words in found.text
    assert found.level == level


def test_of_two_classes_the_bins_below_a_half_are_mirrored(said):
    record_of_one = record(bins((500, 0.1, 0.25), (500, 0.9, 0.75)))
    found = said(classification_report=TWO, calibration=record_of_one)["calibration"]
    assert "it says 90.0 % on average and that comes true in 75.0 % of 1,000 rows" in found.text


def test_labels_positions_and_few_rows_are_not_judged(said):
    of_labels = {"hamming_loss": 0.1, "accuracy": 0.5}
    assert "calibration" not in said(classification_report=of_labels, calibration=record(OVER))
    together = {**CLASSES, "positions": True}
    assert "calibration" not in said(classification_report=together, calibration=record(OVER))


def test_the_test_of_the_mean_distance_is_that_of_the_sum_of_binomials():
    trust = Trust(binned(bins((60, 0.9, 0.8), (40, 0.6, 0.5)), of_one=False))
    both = np.convolve(binom.pmf(np.arange(61), 60, 0.9), binom.pmf(np.arange(41), 40, 0.6))
    away = np.abs(np.arange(101) - 78) >= 10 - 1e-9
    assert trust.p_shift == pytest.approx(both[away].sum(), abs=0.01)
