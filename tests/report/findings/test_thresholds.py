import pytest


def chosen(coverage, risk, *, rows=1000, most=0.05, frozen=True):
    return {"max_risk": most, "chosen": 0.8, "coverage_at": coverage, "risk_at": risk, "rows": rows, "frozen": frozen}


@pytest.mark.parametrize(
    ("record", "level", "words"),
    [
        (chosen(0.8, 0.01), "good", "the 5.0 % wrong that it was chosen for is kept"),
        (chosen(0.8, 0.1), "warn", "that is more wrong than the 5.0 % it was chosen for"),
        (chosen(0.8, 0.06), "info", "so few rows do not show"),
        (chosen(0.8, 0.01, frozen=False), "info", "was chosen on these rows"),
    ],
)
def test_what_the_chosen_confidence_keeps_is_said(said, record, level, words):
    found = said(thresholds=record)["abstention"]
    assert found.level == level
    assert words in found.text
    assert "From a confidence of 0.80 on it answers 800 of 1,000 rows (80 %), and" in found.text


def test_the_accuracy_of_what_is_answered_has_its_interval(said):
    text = said(thresholds={"abstention": chosen(0.5, 0.1, rows=200)})["abstention"].text
    assert "90 of these are right (90 %, 95 % interval 82 to 95)" in text


def test_nothing_is_said_where_no_risk_was_asked_for(said):
    assert "abstention" not in said(thresholds={**chosen(0.8, 0.1), "max_risk": None})


def test_a_risk_that_no_confidence_keeps_is_said(said):
    found = said(thresholds={**chosen(None, None), "chosen": None})["abstention"]
    assert "No confidence keeps the errors at 5.0 % or less, of 1,000 rows" in found.text


def tuned(gain, low, high, name="f1", objective="F1"):
    of = {"name": name, "objective": objective, "class_names": ["a", "b"], "tuned": {"threshold": [0.4, 0.6]}}
    return {**of, "gain": gain, "gain_interval": [low, high], "rows": 400}


def test_a_gain_whose_interval_excludes_zero_is_said(said):
    found = said(thresholds=tuned(0.04, 0.02, 0.06))["thresholds"]
    assert "raise the mean F1 by 0.040 (95 % interval 0.020 to 0.060), of 400 rows" in found.text
    assert said(thresholds=tuned(-0.04, -0.06, -0.02))["thresholds"].level == "warn"
    assert "lower the mean cost of a row" in said(thresholds=tuned(0.4, 0.3, 0.5, "cost", "cost"))["thresholds"].text


@pytest.mark.parametrize("ends", [(-0.01, 0.05), (0.001, 0.04)])
def test_a_gain_that_may_be_chance_is_not_said(said, ends):
    assert "thresholds" not in said(thresholds=tuned(sum(ends) / 2, *ends))
