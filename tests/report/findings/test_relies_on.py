import pytest


def faithful(**insertion):
    return {"faithfulness": {"methods": {k: {"insertion": v} for k, v in insertion.items()}, "samples": 4}}


def test_maps_no_better_than_a_random_one_are_not_to_be_read(said):
    found = said(saliency=faithful(saliency=0.1, grad_cam=0.6, random=0.2, edge=0.1))["maps"]
    assert found.level == "warn"
    assert found.text.startswith("Do not read the maps of saliency (0.10): a random map (0.20)")


def test_maps_that_are_better_are_not_refused(said):
    found = said(saliency=faithful(saliency=0.4, grad_cam=0.6, random=0.2, edge=0.1))["maps"]
    assert found.level == "info"
    assert "grad cam best (0.60)" in found.text
    assert "maps" not in said(saliency={"faithfulness": None})


def test_a_region_that_draws_attention_is_said(said):
    found = said(saliency={"alarms": ["the borders of the inputs hold 3.0 times their share"], "samples": [{}] * 8})
    assert found["region"].text == (
        "The borders of the inputs hold 3.0 times their share (median of 8 samples, no interval)."
    )
    assert "region" not in said(saliency={"alarms": [], "samples": [{}]})


def test_explanations_that_do_not_fit_are_counted(said):
    samples = [{"doubts": ["LIME"]}, {"doubts": [], "rule": {"valid": False}}, {"doubts": [], "rule": {"valid": True}}]
    text = said(explanations={"samples": samples})["explanations"].text
    assert text.startswith(
        "Of 3 explained samples, of 1 an explanation does not fit the model and is marked so, and of 1"
    )
    assert "explanations" not in said(explanations={"samples": samples[2:]})


def tree(low, *, questions=2, rows=51):
    return {
        "fidelity": 0.9, "fidelity_low": low, "fidelity_high": 0.97, "majority": 0.7, "majority_class": "benign",
        "held_out_rows": rows, "branches": [{"leaf": False}] * questions + [{"leaf": True}] * 3, "drops": [],
    }  # fmt: skip


def test_a_tree_is_to_be_read_where_its_interval_is_above_the_commonest_answer(said):
    found = said(surrogate=tree(0.8))["surrogate"]
    assert "A tree of 2 questions gives the model's answer on 51 rows" in found.text
    assert "90 %, 95 % interval 80 to 97" in found.text


@pytest.mark.parametrize("record", [tree(0.65), tree(0.8, questions=0)])
def test_a_tree_that_says_no_more_is_not_to_be_read(said, record):
    found = said(surrogate=record)["surrogate"]
    assert found.level == "warn"
    assert 'always saying "benign" agrees in 70 %' in found.text
    assert "surrogate" not in said(surrogate=tree(0.8, rows=20))


def test_features_are_named_by_intervals_that_hold_for_all_at_once(said):
    drops = [{"name": "radius", "loss": 0.1, "low": 0.07, "high": 0.13}]
    drops += [{"name": f"noise {k}", "loss": 0.01, "low": 0.001, "high": 0.019} for k in range(29)]
    found = said(surrogate={**tree(0.8), "drops": drops, "drop_rows": 170})["importance"]
    # 3.144 standard errors instead of 1.960, by a table of the normal distribution at 0.025 / 30
    assert found.numbers == {"radius": pytest.approx(0.1 - 0.03 * 3.1440 / 1.9600, abs=1e-4)}
    none = said(surrogate={**tree(0.8), "drops": drops[1:], "drop_rows": 170})["importance"]
    assert none.text.startswith("Of no feature is it shown that the model relies on it: 29 were shuffled")
