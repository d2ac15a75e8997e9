import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats

from lightning_posttrain.core.statistics.binomial import incomplete_beta, upper_bound
from lightning_posttrain.thresholds.functional import abstention
from lightning_posttrain.thresholds.functional.abstention import risk_at, risk_coverage


def risk_of(confidence, right, least):
    """Errors among the rows that are at least so sure."""
    answered = [r for c, r in zip(confidence, right, strict=True) if c >= least]
    return sum(not r for r in answered) / len(answered)


def area(confidence, right):
    """AURC of Geifman, Uziel and El-Yaniv (2019): mean over the rows of the risk at each row's confidence."""
    return np.mean([risk_of(confidence, right, c) for c in confidence])


def data(rows=2000, seed=0):
    generator = torch.Generator().manual_seed(seed)
    confidence = 0.5 + torch.rand(rows, generator=generator, dtype=torch.float64) / 2
    return confidence, torch.rand(rows, generator=generator) < confidence


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1, max_size=20))
def test_the_areas_are_those_of_the_papers_with_ties(rows):
    confidence, right = [c / 5 for c, _ in rows], [r for _, r in rows]
    found = risk_coverage(torch.tensor(confidence, dtype=torch.float64), torch.tensor(right))
    assert found.aurc == pytest.approx(area(confidence, right), abs=1e-12)
    perfect = [-i for i in range(len(right))]
    assert found.e_aurc == pytest.approx(found.aurc - area(perfect, sorted(right, reverse=True)), abs=1e-12)
    assert found.e_aurc > -1e-12


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1, max_size=20))
def test_rows_of_equal_confidence_are_answered_together(rows):
    confidence, right = [c / 5 for c, _ in rows], [r for _, r in rows]
    found = risk_coverage(torch.tensor(confidence, dtype=torch.float64), torch.tensor(right))
    levels = sorted(set(confidence), reverse=True)
    assert found.coverage.tolist() == pytest.approx([np.mean([c >= level for c in confidence]) for level in levels])
    assert found.risk.tolist() == pytest.approx([risk_of(confidence, right, level) for level in levels])


@pytest.mark.parametrize("max_risk", [0.0, 0.05, 0.1, 0.25, 1.0])
def test_the_chosen_threshold_has_the_largest_coverage_whose_risk_is_low_enough(max_risk):
    confidence, right = data(300)
    found = risk_coverage(confidence, right, max_risk=max_risk)
    low = [c for c in confidence if risk_of(confidence, right, c) <= max_risk]
    if not low:
        assert found.chosen is None
        return
    assert found.coverage_at == pytest.approx(float((confidence >= min(low)).double().mean()))
    assert found.risk_at == pytest.approx(risk_of(confidence, right, min(low)))
    assert risk_at(confidence, right, found.chosen)[:2] == (found.coverage_at, found.risk_at)


def test_where_all_may_be_answered_the_threshold_is_zero():
    found = risk_coverage(*data(300), max_risk=0.9)
    assert (found.chosen, found.coverage_at) == (0.0, 1.0)


def test_a_risk_that_is_never_reached_is_said():
    found = risk_coverage(torch.tensor([0.9, 0.8]), torch.tensor([False, True]), max_risk=0.1)
    assert found.chosen is None
    assert found.notes == ("no coverage has a risk of 0.1 or less",)
    assert math.isnan(found.scalars()["coverage_at_risk"])
    assert list(risk_coverage(*data(20)).scalars()) == ["aurc"]


def test_a_frozen_threshold_is_applied_and_a_risk_that_it_breaks_is_said():
    confidence, right = data()
    found = risk_coverage(confidence, right, max_risk=0.01, frozen=0.6)
    assert (found.chosen, found.frozen) == (0.6, True)
    assert found.coverage_at == pytest.approx(float((confidence >= 0.6).double().mean()))
    assert found.risk_at == pytest.approx(risk_of(confidence, right, 0.6))
    assert "more than the 0.01 it was chosen for" in found.notes[0]
    assert found.scalars()["coverage_at_risk"] == found.coverage_at


def test_a_long_curve_is_thinned_and_keeps_its_ends_and_the_chosen_point():
    confidence, right = data(20_000)
    found = risk_coverage(confidence, right, max_risk=0.12)
    assert len(found.coverage) <= 512
    assert (found.coverage.diff() > 0).all()
    assert (found.coverage[0].item(), found.coverage[-1].item()) == (1 / 20_000, 1.0)
    place = (found.coverage == found.coverage_at).nonzero().item()
    assert found.threshold[place].item() == found.chosen
    assert found.risk[-1].item() == found.error_rate == pytest.approx(float((~right).double().mean()))
    each = np.cumsum(~right.numpy()[np.argsort(-confidence.numpy())]) / np.arange(1, 20_001)
    assert found.aurc == pytest.approx(each.mean())


def test_the_order_of_chance_has_the_error_rate_as_its_area_and_a_perfect_one_no_excess():
    right = torch.rand(50_000) < 0.8
    by_chance = risk_coverage(torch.rand(50_000), right)
    assert by_chance.aurc == pytest.approx(0.2, abs=0.01)
    assert risk_coverage(right.double() / 2 + 0.1 * torch.rand(50_000), right).e_aurc == pytest.approx(0, abs=1e-8)


def test_the_excess_tends_to_that_of_the_papers_closed_form():
    confidence, right = data(20_000)
    found = risk_coverage(confidence, right)
    risk = found.error_rate
    assert found.aurc - found.e_aurc == pytest.approx(risk + (1 - risk) * math.log(1 - risk), abs=1e-4)


def test_rows_without_a_confidence_are_left_out():
    confidence, right = data(100)
    plain = risk_coverage(confidence, right, max_risk=0.2)
    more = risk_coverage(
        torch.cat([confidence, torch.full((9,), torch.nan)]), torch.cat([right, torch.ones(9) > 2]), max_risk=0.2
    )
    assert more.rows == 100
    assert (more.aurc, more.chosen, more.risk_at) == (plain.aurc, plain.chosen, plain.risk_at)


def test_no_rows_give_no_figures_and_no_error():
    found = risk_coverage(torch.zeros(0), torch.zeros(0, dtype=torch.bool), max_risk=0.1)
    assert found.chosen is None
    assert math.isnan(found.aurc)
    assert math.isnan(risk_coverage(torch.zeros(0), torch.zeros(0, dtype=torch.bool), frozen=0.5).risk_at)
    json.dumps(found.to_dict(), allow_nan=False)


def test_a_risk_outside_zero_to_one_is_refused():
    with pytest.raises(ValueError, match="`max_risk` is 5, wanted a share of errors from 0 to 1"):
        risk_coverage(*data(10), max_risk=5)


@pytest.mark.parametrize("rows", [1, 2, 30, 1000, 1_000_000])
@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.5, 0.97, 1.0])
def test_the_upper_end_is_scipys_quantile_of_the_beta_distribution(rows, share):
    errors = round(share * rows)
    expected = stats.beta.ppf(0.95, errors + 1, rows - errors) if errors < rows else 1.0
    assert upper_bound(errors, rows) == pytest.approx(expected, rel=1e-7)


@pytest.mark.parametrize(("a", "b"), [(1, 1), (1, 59), (0.5, 3.5), (40, 2), (300, 700), (2e5, 8e5)])
def test_the_incomplete_beta_function_is_scipys(a, b):
    for x in [0.0, 1e-6, *(stats.beta.ppf(q, a, b) for q in (0.001, 0.3, 0.9, 0.999)), 0.999, 1.0]:
        assert incomplete_beta(a, b, x) == pytest.approx(special.betainc(a, b, x), rel=1e-7, abs=1e-12)


def test_the_upper_end_holds_at_least_as_often_as_it_says():
    generator = np.random.default_rng(0)
    held = [upper_bound(int(errors), 60) >= 0.1 for errors in generator.binomial(60, 0.1, 2000)]
    assert np.mean(held) >= 0.94


def test_the_upper_end_without_rows_is_not_defined():
    assert math.isnan(upper_bound(0, 0))


def test_confidences_are_those_of_a_softmax_whatever_the_pieces(monkeypatch):
    logits = 5 * torch.randn(50, 7, generator=torch.Generator().manual_seed(0))
    logits[3, 2] = -torch.inf
    wanted, predicted = logits.double().softmax(1).max(1)
    for size in (1, 30, 1 << 18):
        monkeypatch.setattr(abstention, "AT_ONCE", size)
        found = abstention.confidences(logits)
        torch.testing.assert_close(found[0], wanted, rtol=1e-14, atol=0)
        assert torch.equal(found[1], predicted)
    assert len(abstention.confidences(logits[:0])[0]) == 0
