"""What is counted of two models' answers, beside slow loops."""

import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.metrics import accuracy_score, max_error, mean_absolute_error

from lightning_posttrain.export.decision import Decision
from lightning_posttrain.export.outputs import Outputs
from lightning_posttrain.export.parity import counts as counts_module
from lightning_posttrain.export.parity.change import Change
from lightning_posttrain.export.parity.counts import EDGES, ParityCounts
from lightning_posttrain.export.parity.margins import margins
from lightning_posttrain.export.parity.sums import ParitySums
from tests.export.parity.answers import answers, part

PLAIN = Decision("multiclass", ("a", "b", "c"))
LABELS = Decision("multilabel", ("a", "b", "c"))
SHAPES = [("multiclass", ()), ("multiclass", (2, 3)), ("multilabel", ()), ("multilabel", (4,))]


def summed(reference, got, target, batches, decision=PLAIN):
    sums = ParitySums("float32", decision=decision)
    for rows in np.array_split(np.arange(len(target)), batches):
        sums.add(part(reference, rows), part(got, rows), target=target[rows])
    return sums


def compared_slowly(reference, got, target, margin):
    """Every figure once more, number by number."""
    apart = [abs(float(a) - float(b)) for a, b in zip(reference[0].ravel(), got[0].ravel(), strict=True)]
    changed = [a != b for a, b in zip(reference[1].ravel(), got[1].ravel(), strict=True)]
    by_row = [any(a.ravel() != b.ravel()) for a, b in zip(reference[1], got[1], strict=True)]
    gains = []
    for one, other, wanted in zip(reference[1], got[1], target, strict=True):
        pairs = [
            int(b == t) - int(a == t)
            for a, b, t in zip(one.ravel(), other.ravel(), wanted.ravel(), strict=True)
            if t >= 0
        ]
        gains += [sum(pairs) / len(pairs)] if pairs else []
    return {
        "rows": len(target),
        "decisions": len(changed),
        "flips": sum(changed),
        "flipped_rows": sum(by_row),
        "largest": max(apart),
        "mean": sum(apart) / len(apart),
        "no_ties": sum(flip and far > 2 * max(apart) for flip, far in zip(changed, margin.ravel(), strict=True)),
        "paired_rows": len(gains),
        "gained": sum(gains),
        "squares": sum(gain**2 for gain in gains),
    }


@pytest.mark.parametrize(("task", "positions"), SHAPES)
@pytest.mark.parametrize("noise", [1e-6, 0.1, 3.0])
def test_sums_are_those_of_a_slow_loop(task, positions, noise):
    decision = PLAIN if task == "multiclass" else LABELS
    reference, got, target = answers(23, noise=noise, positions=positions, task=task)
    target.ravel()[::5] = -1
    target[4] = -1
    found = summed(reference, got, target, 4, decision).counts
    wanted = compared_slowly(reference, got, target, margins(reference.probabilities, decision))
    assert {name: getattr(found, name) for name in wanted} == pytest.approx(wanted, rel=1e-12)
    assert noise < 1 or found.flips > 3


def test_differences_are_those_of_scikit_learn():
    reference, got, _ = answers(50)
    found = ParityCounts.of(reference, got)
    pair = [one.probabilities.astype(np.float64).ravel() for one in (reference, got)]
    assert found.mean == pytest.approx(mean_absolute_error(*pair), rel=1e-12)
    assert found.largest == max_error(*pair)


def test_the_change_of_right_decisions_is_the_difference_of_two_accuracies():
    reference, got, target = answers(300, noise=1.0)
    change = ParityCounts.of(reference, got, target=target).change
    wanted = accuracy_score(target, got.decision) - accuracy_score(target, reference.decision)
    assert change.value == pytest.approx(wanted, abs=1e-12)
    assert change.low < change.value < change.high


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 12), st.integers(0, 100), st.sampled_from(SHAPES))
def test_any_split_into_batches_and_ranks_gives_the_same(batches, seed, shape):
    task, positions = shape
    decision = PLAIN if task == "multiclass" else LABELS
    reference, got, target = answers(12, noise=1.0, seed=seed, positions=positions, task=task)
    whole = summed(reference, got, target, 1, decision)
    ranks = [
        summed(part(reference, rows), part(got, rows), target[rows], batches, decision).to_sums()
        for rows in (slice(0, 5), slice(5, 5), slice(5, 12))
    ]
    for order in itertools.permutations(ranks):
        merged = ParitySums.merged(json.loads(json.dumps(order)))
        for name, value in whole.counts.to_dict().items():
            assert merged.counts.to_dict()[name] == pytest.approx(value, rel=1e-12), name


def test_an_empty_batch_changes_nothing():
    reference, got, target = answers(0)
    assert ParityCounts.of(reference, got, target=target).to_dict() == ParityCounts().to_dict()


def test_parts_of_two_precisions_are_not_merged():
    with pytest.raises(ValueError, match=r"`parts` are of precisions \['float32', 'int8'\], wanted one"):
        ParitySums.merged([ParitySums("float32").to_sums(), ParitySums("int8").to_sums()])


def test_a_precision_that_is_none_is_refused():
    with pytest.raises(ValueError, match=r"`precision` is 'float64', wanted one of float32, half, int8"):
        ParitySums("float64")


def test_other_shapes_are_refused():
    reference, got, _ = answers(4)
    with pytest.raises(ValueError, match=r"`got.probabilities` has shape \(3, 3\), wanted \(4, 3\)"):
        ParityCounts.of(reference, part(got, slice(0, 3)))
    with pytest.raises(ValueError, match=r"`margin` has shape \(3,\), wanted \(4,\)"):
        ParityCounts.of(reference, got, margin=np.zeros(3))


def test_a_flip_with_a_margin_of_at_most_twice_the_largest_difference_is_a_tie():
    tested = Outputs(np.array([[0.5, 0.5], [0.25, 0.75]]), np.array([0, 1]))
    got = Outputs(np.array([[0.5, 0.5], [0.3125, 0.6875]]), np.array([1, 0]))
    at_the_edge = ParityCounts.of(tested, got, margin=np.array([0.125, 0.125]))
    assert (at_the_edge.flips, at_the_edge.no_ties) == (2, 0)
    beyond = ParityCounts.of(tested, got, margin=np.array([0.1251, 0.125]))
    assert (beyond.flips, beyond.no_ties) == (2, 1)


def test_a_flip_whose_margin_is_not_known_is_no_tie():
    reference, got, _ = answers(60, noise=0.5)
    calibrated = Decision("multiclass", ("a", "b", "c"), calibration={"method": "vector"})
    sums = ParitySums("float32", decision=calibrated)
    sums.add(reference, got)
    assert sums.counts.no_ties == sums.counts.flips > 0
    sums.add(reference, got, margin=margins(reference.probabilities, calibrated))
    assert sums.counts.no_ties == sums.counts.flips / 2


def test_more_margins_than_are_kept_leave_a_lower_bound(monkeypatch):
    monkeypatch.setattr(counts_module, "MOST_MARGINS", 5)
    reference, got, _ = answers(60, noise=1.0)
    found = ParityCounts.of(reference, got) + ParityCounts.of(reference, got)
    assert found.flips > 10
    assert found.no_ties == len(found.margins) == 5


def test_what_is_not_finite_is_counted_and_not_averaged():
    reference, got, _ = answers(5)
    reference.probabilities[0] = np.nan
    got.probabilities[0, 0] = np.nan
    got.probabilities[1, 1] = np.inf
    found = ParityCounts.of(reference, got)
    assert (found.non_finite, found.tested_non_finite, found.values) == (2, 3, 11)
    assert math.isfinite(found.largest)
    assert math.isfinite(found.mean)


def test_rows_are_counted_by_the_size_of_their_largest_difference():
    tested = np.zeros((4, 2))
    got = np.array([[0, 0], [0, 2e-7], [1e-4, 5e-3], [1.0, 0.1]])
    none = np.zeros(4, dtype=np.int64)
    spread = ParityCounts.of(Outputs(tested, none), Outputs(got, none)).spread
    wanted = np.zeros(len(EDGES) + 1, dtype=int)
    for value in (0, 2e-7, 5e-3, 1.0):
        wanted[sum(edge <= value for edge in EDGES)] += 1
    assert spread.tolist() == wanted.tolist()
    assert spread.sum() == 4


def margin_slowly(chance, decision, place=0):
    """How far the probabilities of one row may move before the decision is another, by trying."""
    if decision.task == "multilabel":
        return abs(chance - (decision.thresholds or (0.5,) * 9)[place])
    best, next_best = sorted(chance, reverse=True)[:2]
    own = best - next_best if decision.task == "multiclass" else abs(chance[1] - (decision.thresholds or (0.5,))[0])
    if decision.confidence is None:
        return own
    return decision.confidence - best if best < decision.confidence else min(own, best - decision.confidence)


@pytest.mark.parametrize(
    "decision",
    [
        Decision("multiclass", ("a", "b", "c")),
        Decision("multiclass", ("a", "b", "c"), confidence=0.5),
        Decision("binary", ("a", "b")),
        Decision("binary", ("a", "b"), thresholds=(0.3,)),
        Decision("binary", ("a", "b"), thresholds=(0.3,), confidence=0.8),
    ],
)
def test_margins_are_those_of_a_slow_loop(decision):
    reference, _, _ = answers(30, len(decision.class_names), positions=(2,))
    found = margins(reference.probabilities, decision)
    wanted = [
        [margin_slowly([float(one) for one in row[:, place]], decision) for place in range(2)]
        for row in reference.probabilities
    ]
    np.testing.assert_allclose(found, wanted, atol=1e-15)


def test_the_margin_of_a_label_is_the_distance_to_its_threshold():
    decision = Decision("multilabel", ("a", "b", "c"), thresholds=(0.2, 0.5, 0.9))
    for positions in ((), (2,)):
        reference, _, _ = answers(7, task="multilabel", positions=positions)
        found = margins(reference.probabilities, decision)
        for (row, label, *rest), value in np.ndenumerate(found.reshape(7, 3, -1)):
            chance = float(reference.probabilities.reshape(7, 3, -1)[(row, label, *rest)])
            assert value == pytest.approx(margin_slowly(chance, decision, label), abs=1e-15)


def test_the_only_class_there_is_cannot_flip():
    assert margins(np.ones((2, 1)), PLAIN).tolist() == [math.inf, math.inf]


@pytest.mark.parametrize(("lost", "won"), [(0.01, 0.01), (0.03, 0.005), (0.2, 0.1)])
def test_intervals_of_a_change_hold_the_truth_as_often_as_they_say(lost, won):
    generator = np.random.default_rng(0)
    hits, times = 0, 2000
    for b, c, _ in generator.multinomial(400, [lost, won, 1 - lost - won], size=times):
        change = Change.of(float(c - b), float(c + b), 400)
        hits += change.low <= won - lost <= change.high
    assert binomtest(hits, times, 0.95).proportion_ci(0.999).high >= 0.95
    assert hits / times < 0.99
