import pytest


def record(low, high, **more):
    best = {"name": "best", "words": "epoch 3 alone", "log_loss": 0.6, "loss": {"value": 0, "low": 0, "high": 0}}
    mean = {
        "name": "mean", "title": "mean of probabilities", "members": 4, "log_loss": 0.5,
        "loss": {"value": (low + high) / 2, "low": low, "high": high},
    }  # fmt: skip
    return {"strategies": [best, mean], "chosen": "mean", "kept": True, "samples": 377, **more}


@pytest.mark.parametrize(
    ("ends", "level", "words"),
    [
        (
            (-0.15, -0.05),
            "good",
            "is better than its best member alone (epoch 3): log loss 0.500 against 0.600, 0.050 to 0.150",
        ),
        ((0.05, 0.15), "warn", "is worse than its best member alone (epoch 3)"),
        ((-0.05, 0.01), "info", "is not told apart from its best member alone on 377 rows"),
    ],
)
def test_an_ensemble_is_judged_by_the_paired_interval(said, ends, level, words):
    found = said(ensemble=record(*ends))["ensemble"]
    assert found.level == level
    assert words in found.text


@pytest.mark.parametrize("more", [{"kept": False}, {"samples": 20}, {"chosen": ""}])
def test_an_ensemble_that_is_not_used_is_not_judged(said, more):
    assert "ensemble" not in said(ensemble=record(-0.15, -0.05, **more))
