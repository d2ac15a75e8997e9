"""The mathematics of drift beside slow references, SciPy and the paper's own words."""

import math
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import rel_entr
from scipy.stats import chi2

from lightning_posttrain.export.drift.functional import (
    ENOUGH,
    accuracy_threshold,
    compare,
    estimated_accuracy,
    limit,
    log_odds_edges,
    pooled,
    psi,
)

counts = st.integers(2, 20).flatmap(
    lambda bins: st.tuples(*[st.lists(st.integers(0, 1000), min_size=bins, max_size=bins)] * 2)
)


def slow_psi(reference, now):
    a, b = (([Fraction(2 * n + 1, 2 * sum(each) + len(each)) for n in each]) for each in (reference, now))
    return math.fsum(float(x - y) * (math.log(x) - math.log(y)) for x, y in zip(a, b, strict=True))


@given(counts)
def test_psi_is_that_of_a_slow_sum(both):
    assert psi(*both) == pytest.approx(slow_psi(*both), rel=1e-9, abs=1e-12)


@given(counts)
def test_psi_is_the_relative_entropy_both_ways_as_scipy_has_it(both):
    a, b = ((np.array(each) + 0.5) / (np.array(each) + 0.5).sum() for each in both)
    assert psi(*both) == pytest.approx(rel_entr(a, b).sum() + rel_entr(b, a).sum(), rel=1e-9, abs=1e-12)


@given(counts)
def test_psi_is_symmetric_and_never_below_zero(both):
    assert psi(*both) >= 0
    assert psi(*both[::-1]) == pytest.approx(psi(*both), rel=1e-9)
    assert psi(both[0], both[0]) == 0


@given(counts, st.randoms())
def test_psi_does_not_hang_on_the_order_of_the_bins(both, random):
    order = random.sample(range(len(both[0])), len(both[0]))
    shuffled = [[each[place] for place in order] for each in both]
    assert psi(*shuffled) == pytest.approx(psi(*both), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("bins", [2, 3, 5, 10, 50, 200])
@pytest.mark.parametrize("alarms", [0.05, 1e-2, 1e-3, 1e-4])
def test_limit_is_the_quantile_of_chi_squared(bins, alarms):
    wanted = (1 / 2000 + 1 / 300) * chi2.ppf(1 - alarms, bins - 1)
    # Wilson and Hilferty are worst at few degrees of freedom, there mostly too high
    assert 0.97 * wanted < limit(2000, 300, bins, alarms) < wanted * (1.08 if bins < 4 else 1.03)


def test_limit_is_never_below_zero():
    assert limit(10, 10, 2, 0.999) == 0


@given(st.integers(1, 10**6), st.integers(1, 10**6), st.integers(2, 300))
def test_limit_falls_with_more_rows_and_rises_with_rarer_alarms(n, m, bins):
    found = limit(n, m, bins, 0.01)
    assert limit(n + 1, m, bins, 0.01) < found
    assert limit(n, m + 1, bins, 0.01) < found
    assert limit(n, m, bins, 0.001) > found
    assert limit(m, n, bins, 0.01) == found


def test_bins_hold_equal_shares_of_the_reference():
    confidence = np.random.default_rng(0).normal(size=5000)
    shares = np.bincount(np.searchsorted(log_odds_edges(confidence), confidence, side="right"))
    assert len(shares) == 10
    assert abs(shares - 500).max() <= 5


def test_tied_rows_share_a_bin_though_they_differ_by_rounding():
    confidence = np.concatenate([np.full(900, 69.0), np.linspace(1, 5, 100)])
    edges = log_odds_edges(confidence)
    assert (np.diff(edges) > 0).all()
    bins = np.searchsorted(edges, 69.0 + np.array([0, 1e-4, -1e-4]), side="right")
    assert set(bins) == {len(edges)}


@pytest.mark.parametrize("value", [-3.0, 0.0, 69.0])
def test_rows_that_are_all_tied_leave_a_bin_for_less_sure_ones(value):
    edges = log_odds_edges(np.full(50, value))
    assert len(edges) == 1
    assert edges[0] < value


@given(st.lists(st.integers(0, 50), min_size=2, max_size=60), st.integers(1, 100))
def test_groups_are_of_neighbours_and_have_enough_rows_or_there_are_two(counts, least):
    starts = pooled(counts, least)
    assert starts[0] == 0
    assert starts == sorted(set(starts))
    assert 2 <= len(starts) <= len(counts)
    if len(starts) > 2:
        assert np.add.reduceat(counts, starts).min() >= least


def test_groups_do_not_favour_what_was_seen_often_by_chance():
    """Of classes with equal shares, a group's share of the reference is what it is of any other rows."""
    rng, apart = np.random.default_rng(0), []
    for _ in range(300):
        reference, other = rng.multinomial(2000, np.full(1000, 1e-3), size=2)
        starts = pooled(reference, ENOUGH)
        apart.append(np.add.reduceat(reference, starts)[:-1].mean() - np.add.reduceat(other, starts)[:-1].mean())
    assert abs(np.mean(apart)) < 4 * np.std(apart) / math.sqrt(300)


def test_rare_bins_are_compared_together():
    found = compare(np.array([1000, 3, 2, 1000]), np.array([95, 0, 0, 105]), alarms=0.01)
    assert found.groups == 2
    assert found.psi == psi([1000, 1005], [95, 105])
    assert found.limit == limit(2005, 200, 2, 0.01)
    assert not found.over


def test_a_bin_that_the_reference_has_not_is_seen():
    assert compare(np.array([0, 2000]), np.array([300, 700]), alarms=1e-4).over


@given(st.lists(st.tuples(st.integers(0, 12), st.booleans()), min_size=1, max_size=60))
def test_the_threshold_leaves_as_many_rows_below_as_are_wrong(rows):
    """As equation 1 reads: of all places where one could cut, none comes closer."""
    confidence, correct = np.array([float(row[0]) for row in rows]), np.array([row[1] for row in rows])
    errors = Counter(correct.tolist())[False]

    def distance(threshold):
        return abs(sum(value < threshold for value in confidence) - errors)

    found = accuracy_threshold(confidence, correct)
    assert distance(found) == min(map(distance, [*confidence, confidence.max() + 1]))


def test_the_estimate_is_the_accuracy_itself_on_the_reference():
    rng = np.random.default_rng(0)
    confidence, correct = rng.normal(size=1000), rng.random(1000) < 0.83
    assert estimated_accuracy(confidence, accuracy_threshold(confidence, correct)) == correct.mean()


@pytest.mark.parametrize(("correct", "wanted"), [(False, 0.0), (True, 1.0)])
def test_the_estimate_of_a_model_that_is_all_wrong_or_all_right_is_so(correct, wanted):
    confidence = np.arange(5.0)
    assert estimated_accuracy(confidence, accuracy_threshold(confidence, np.full(5, correct))) == wanted


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: log_odds_edges([]), r"`confidence` has shape \(0,\), wanted \(N,\)"),
        (lambda: log_odds_edges([1.0], bins=1), "`bins` is 1, wanted 2 at least"),
        (lambda: psi([1, 2], [1]), r"shapes \(2,\) and \(1,\), wanted \(B,\) of both"),
        (lambda: psi([1, -2], [1, 2]), "a count below 0"),
        (lambda: limit(0, 1, 2, 0.1), "are 0, 1, 2 and 0.1, wanted"),
        (lambda: limit(1, 1, 2, 1.0), "a share between 0 and 1"),
        (lambda: accuracy_threshold([1.0], [True, False]), r"shapes \(1,\) and \(2,\), wanted \(N,\) of both"),
        (lambda: estimated_accuracy([], 1.0), "`confidence` has no row"),
    ],
)
def test_what_cannot_be_counted_is_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()
