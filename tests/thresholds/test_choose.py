import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from lightning_posttrain.thresholds.functional.choose import (
    choose_thresholds,
    cross_fitted,
    objective_curves,
    operating,
    threshold_report,
)
from lightning_posttrain.thresholds.functional.cuts import NEVER, cuts
from lightning_posttrain.thresholds.functional.gain import gain
from lightning_posttrain.thresholds.functional.objectives import Objective

OBJECTIVES = [
    Objective(),
    Objective(beta=0.5),
    Objective(beta=2.3),
    Objective("youden"),
    Objective("recall_at_precision", at=0.7),
    Objective("precision_at_recall", at=0.8),
    Objective("cost", costs=((0, 1), (5, 0))),
    Objective("cost", costs=((-0.25, 3), (1, 0.5))),
]
IDS = [f"{o.text} {o.costs or ''}" for o in OBJECTIVES]


def said_by_sklearn(objective, target, predicted):
    """The objective at one set of predictions, -inf where its constraint is not met; more is better."""
    precision = sk.precision_score(target, predicted, zero_division=0)
    recall = sk.recall_score(target, predicted)
    if objective.kind == "f_beta":
        return sk.fbeta_score(target, predicted, beta=objective.beta, zero_division=0)
    if objective.kind == "youden":
        return sk.balanced_accuracy_score(target, predicted, adjusted=True)
    if objective.kind == "recall_at_precision":
        return recall if precision >= objective.at else -math.inf
    if objective.kind == "precision_at_recall":
        return precision if recall >= objective.at else -math.inf
    return -(sk.confusion_matrix(target, predicted, labels=[0, 1]) * np.array(objective.costs)).sum() / len(target)


def best_by_trying_all(objective, probability, target):
    thresholds = [*np.unique(probability), np.inf]
    return max(said_by_sklearn(objective, target, probability >= t) for t in thresholds)


def chosen(objective, probability, target):
    found = choose_thresholds(torch.tensor(probability)[:, None], torch.tensor(target)[:, None], objective)
    return found.thresholds.item(), found.reasons[0]


def check_best(objective, probability, target):
    threshold, reason = chosen(objective, probability, target)
    best = best_by_trying_all(objective, probability, target)
    if math.isinf(best):
        assert math.isnan(threshold)
        assert "reached at no threshold" in reason
        return
    assert said_by_sklearn(objective, target, probability >= threshold) == pytest.approx(best, abs=1e-12)


@pytest.mark.parametrize("objective", OBJECTIVES, ids=IDS)
@settings(max_examples=25)
@given(rows=st.lists(st.tuples(st.integers(0, 8), st.integers(0, 1)), min_size=2, max_size=14))
def test_no_other_threshold_is_better_with_many_ties_zeros_and_ones(objective, rows):
    probability, target = np.array([p / 8 for p, _ in rows]), np.array([y for _, y in rows])
    if 0 < target.sum() < len(target):
        check_best(objective, probability, target)


@pytest.mark.parametrize("objective", OBJECTIVES, ids=IDS)
@pytest.mark.parametrize("decimals", [1, 2])
def test_no_other_threshold_is_better_on_five_thousand_rows(objective, decimals):
    generator = np.random.default_rng(1)
    target = (generator.random(5000) < 0.2).astype(int)
    probability = (1 / (1 + np.exp(-generator.normal(2.0 * target - 1.5, 1.0)))).round(decimals)
    check_best(objective, probability, target)


def data(rows=5000, seed=0):
    generator = torch.Generator().manual_seed(seed)
    target = (torch.rand(rows, generator=generator) < 0.2).long()
    return torch.sigmoid(torch.randn(rows, generator=generator) + 2.0 * target - 2.5), target


def test_continuous_scores_give_scikit_learns_curves():
    probability, target = data()
    precision, recall, _ = sk.precision_recall_curve(target, probability)
    false, true, _ = sk.roc_curve(target, probability, drop_intermediate=False)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    expected = {
        Objective(): f1.max(),
        Objective("youden"): (true - false).max(),
        Objective("recall_at_precision", at=0.8): recall[precision >= 0.8].max(),
        Objective("precision_at_recall", at=0.6): precision[recall >= 0.6].max(),
    }
    for objective, best in expected.items():
        threshold = choose_thresholds(probability[:, None], target[:, None], objective).thresholds
        found = operating(probability[:, None], target[:, None], threshold, objective)
        assert found.objective.item() == pytest.approx(best, abs=1e-12), objective.text


def test_every_figure_is_scikit_learns():
    probability, target = data()
    objective = Objective(beta=2, kind="f_beta")
    found = operating(probability[:, None], target[:, None], torch.tensor([0.3]), objective)
    predicted = probability >= 0.3
    expected = {
        "precision": sk.precision_score(target, predicted),
        "recall": sk.recall_score(target, predicted),
        "f_beta": sk.fbeta_score(target, predicted, beta=2),
        "specificity": sk.recall_score(target, predicted, pos_label=0),
        "youden": sk.balanced_accuracy_score(target, predicted, adjusted=True),
        "accuracy": sk.accuracy_score(target, predicted),
        "cost": 1 - sk.accuracy_score(target, predicted),
    }
    assert found.macro | {"objective": 0} == pytest.approx(expected | {"objective": 0})
    assert found.value == pytest.approx(expected["f_beta"])


def test_the_threshold_lies_in_the_middle_of_the_gap_in_log_odds():
    threshold, _ = chosen(Objective(), [0.01, 0.02, 0.6, 0.7], [0, 0, 1, 1])
    assert math.log(threshold / (1 - threshold)) == pytest.approx((math.log(0.02 / 0.98) + math.log(0.6 / 0.4)) / 2)


def test_beside_a_zero_or_a_one_it_lies_in_the_middle_of_the_probabilities():
    assert chosen(Objective(), [0.0, 0.4], [0, 1])[0] == pytest.approx(0.2)
    assert chosen(Objective(), [0.4, 1.0], [0, 1])[0] == pytest.approx(0.7)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_between_neighbouring_numbers_the_cut_is_still_made(dtype):
    upper = torch.tensor(0.3, dtype=dtype)
    lower = torch.nextafter(upper, torch.tensor(0, dtype=dtype))
    probability, target = torch.stack([lower, upper])[:, None], torch.tensor([[0], [1]])
    threshold = choose_thresholds(probability, target, Objective()).thresholds
    assert operating(probability, target, threshold, Objective()).objective.item() == 1


def test_of_cuts_that_are_equally_good_the_one_nearest_one_half_is_taken():
    # every cut has Youden's J 0: with each threshold as many of both are predicted
    threshold, _ = chosen(Objective("youden"), [0.1, 0.1, 0.45, 0.45, 0.9, 0.9], [0, 1, 0, 1, 0, 1])
    assert 0.45 < threshold < 0.9
    threshold, _ = chosen(Objective("youden"), [0.1, 0.1, 0.6, 0.6, 0.99, 0.99], [0, 1, 0, 1, 0, 1])
    assert 0.1 < threshold < 0.6


def test_of_equal_recalls_the_one_with_more_precision_is_taken():
    threshold, _ = chosen(Objective("recall_at_precision", at=0.5), [0.9, 0.52, 0.48, 0.3], [1, 0, 0, 0])
    assert threshold > 0.52


def test_where_predicting_nothing_is_cheapest_the_threshold_is_above_all_scores():
    costly = Objective("cost", costs=((0, 100), (1, 0)))
    assert 0.9 < chosen(costly, [0.9, 0.8, 0.7], [0, 1, 0])[0] < 1
    assert chosen(costly, [1.0, 0.8, 0.7], [0, 1, 0])[0] == NEVER
    assert not (torch.tensor([1.0]) >= NEVER).any()


def test_rows_that_are_not_counted_change_nothing():
    probability, target = data(400)
    more = torch.cat([probability, torch.rand(300), torch.full((50,), torch.nan)])
    marked = torch.cat([target, -torch.ones(300, dtype=torch.int64), torch.ones(50, dtype=torch.int64)])
    for objective in OBJECTIVES:
        plain = choose_thresholds(probability[:, None], target[:, None], objective).thresholds
        found = choose_thresholds(more[:, None], marked[:, None], objective).thresholds
        assert torch.equal(plain, found)
        first = operating(probability[:, None], target[:, None], plain, objective)
        assert operating(more[:, None], marked[:, None], plain, objective).macro == pytest.approx(first.macro)
        assert gain(more[:, None], marked[:, None], plain, objective)[0] == pytest.approx(
            gain(probability[:, None], target[:, None], plain, objective)[0]
        )


def test_labels_without_both_kinds_of_rows_get_no_threshold_and_a_reason():
    probability = torch.rand(6, 3)
    target = torch.tensor([[0, 1, 0], [0, 1, 1], [0, 1, 0], [0, 1, 1], [0, 1, 0], [0, -1, 1]])
    found = choose_thresholds(probability, target, Objective())
    assert found.thresholds.isnan().tolist() == [True, True, False]
    assert found.reasons == ("no positive rows", "no negative rows", "")
    point = operating(probability, target, found.thresholds, Objective())
    assert point.threshold[:2].tolist() == [0.5, 0.5]
    assert point.objective[0].isnan()


def test_counts_of_all_cuts_are_those_of_counting_anew():
    probability, target = data(200)
    probability = probability.round(decimals=1)
    found = cuts(probability, target)
    assert len(found.threshold) == len(probability.unique()) + 1
    for threshold, tp, fp, fn, tn in zip(found.threshold, *found.counts, strict=True):
        matrix = sk.confusion_matrix(target, probability.double() >= threshold, labels=[0, 1])
        assert [tn, fp, fn, tp] == matrix.ravel().tolist()


def multilabel(rows=6000, labels=12, seed=0):
    generator = torch.Generator().manual_seed(seed)
    base = torch.linspace(-5, -1.5, labels)
    strength = torch.randn(rows, labels, generator=generator) * 1.6 + base
    target = (torch.rand(rows, labels, generator=generator) < strength.sigmoid()).long()
    return strength.sigmoid(), target


def test_thresholds_fitted_on_one_half_improve_macro_f1_on_the_other():
    probability, target = multilabel()
    thresholds = choose_thresholds(probability[:3000], target[:3000], Objective()).thresholds
    tuned = sk.f1_score(target[3000:], probability[3000:] >= thresholds, average="macro", zero_division=0)
    half = sk.f1_score(target[3000:], probability[3000:] >= 0.5, average="macro", zero_division=0)
    assert tuned > half + 0.1
    point, low, high = gain(probability[3000:], target[3000:], thresholds, Objective())
    assert point == pytest.approx(tuned - half)
    assert 0 < low < point < high


def test_the_gain_of_cross_fitting_is_nearer_to_that_on_new_rows_than_the_gain_on_its_own():
    own, crossed, new = [], [], []
    for seed in range(8):
        probability, target = multilabel(4300, 8, seed)
        few, rest = slice(300), slice(300, None)
        thresholds = choose_thresholds(probability[few], target[few], Objective()).thresholds
        held_out = cross_fitted(probability[few], target[few], Objective())
        own.append(gain(probability[few], target[few], thresholds, Objective(), replicates=1)[0])
        crossed.append(gain(probability[few], target[few], held_out, Objective(), replicates=1)[0])
        new.append(gain(probability[rest], target[rest], thresholds, Objective(), replicates=1)[0])
    assert abs(np.mean(crossed) - np.mean(new)) < 0.5 * abs(np.mean(own) - np.mean(new))


def test_cross_fitted_thresholds_do_not_come_from_their_own_rows():
    probability, target = data(100)
    before = cross_fitted(probability[:, None], target[:, None], Objective())
    for row in (0, 50, 99):
        changed = target.clone()
        changed[row] = 1 - changed[row]
        after = cross_fitted(probability[:, None], changed[:, None], Objective())
        assert torch.equal(before[row], after[row])
    assert len(before.unique()) > 1


@pytest.mark.parametrize("most", [17, 257])
def test_a_thinned_curve_keeps_its_ends_and_the_chosen_threshold(most):
    probability, target = data()
    for objective in OBJECTIVES:
        curve = objective_curves(probability[:, None], target[:, None], objective, most=most)[0]
        best = choose_thresholds(probability[:, None], target[:, None], objective).thresholds
        assert len(curve.threshold) <= most
        assert (curve.threshold.diff() > 0).all()
        assert best in curve.threshold
        ends = cuts(probability, target).threshold
        assert (curve.threshold[-1], curve.threshold[0]) == (ends[0], ends[-1])
        place = len(curve.threshold) // 2
        point = operating(probability[:, None], target[:, None], curve.threshold[place, None], objective)
        if point.met:
            assert curve.value[place] == pytest.approx(point.objective.item())
        assert curve.recall[place] == pytest.approx(point.recall.item())


def by_rows(probability, target, thresholds, objective, resamples, seed):
    """The gain's interval by drawing rows one by one, and each figure from its definition."""
    generator = np.random.default_rng(seed)
    probability, target, thresholds = (x.numpy() for x in (probability, target, thresholds))
    found = []
    for _ in range(resamples):
        rows = generator.integers(0, len(target), len(target))
        won = []
        for label in range(target.shape[1]):
            p, y = probability[rows, label], target[rows, label].astype(bool)
            said = (p >= thresholds[label], p >= 0.5)
            if objective.kind == "cost":
                costs = np.array(objective.costs)
                won.append(np.subtract(*(costs[y.astype(int), q.astype(int)].mean() for q in said[::-1])))
            else:
                won.append(np.subtract(*(2 * (q & y).sum() / (q.sum() + y.sum()) for q in said)))
        found.append(np.mean(won))
    return np.quantile(found, [0.025, 0.975])


@pytest.mark.parametrize("objective", [Objective(), Objective("cost", costs=((0, 1), (5, 0)))], ids=lambda o: o.text)
def test_the_interval_is_that_of_rows_drawn_one_by_one(objective):
    probability, target = (x[:, -3:] for x in multilabel(500))
    target = target | target[:, :1]
    thresholds = torch.tensor([0.1, 0.2, 0.3])
    point, low, high = gain(probability, target, thresholds, objective, replicates=4000)
    expected = by_rows(probability, target, thresholds, objective, 2000, seed=1)
    assert (low, high) == pytest.approx(expected, abs=0.07 * (high - low))
    assert low < point < high


def test_the_gain_of_a_cost_is_what_is_saved():
    objective = Objective("cost", costs=((0, 1), (5, 0)))
    probability, target = data()
    half, tuned = (said_by_sklearn(objective, target, probability >= t) for t in (0.5, 0.2))
    point = gain(probability[:, None], target[:, None], torch.tensor([0.2]), objective)[0]
    assert point == pytest.approx(tuned - half)
    assert point > 0


def test_labels_with_few_positive_rows_leave_the_interval_defined():
    probability, target = multilabel(100, 3)
    target[:, 0] = 0
    target[0, 0] = 1
    target[:, 1] = 0
    point, low, high = gain(probability, target, torch.full((3,), 0.2), Objective())
    assert math.isfinite(point)
    assert low <= high


def test_gain_draws_from_no_generator_of_others_and_the_same_each_time():
    probability, target = multilabel(500, 3)
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()
    first, second = (gain(probability, target, torch.full((3,), 0.2), Objective()) for _ in range(2))
    assert first == second
    threshold_report(probability, target, Objective(), class_names=("a", "b", "c"))
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1] == np.random.get_state()[1].tolist()


def test_thirty_labels_are_drawn_as_rows_and_not_confused():
    probability, target = multilabel(300, 30)
    thresholds = torch.full((30,), 0.1)
    point, low, high = gain(probability, target, thresholds, Objective())
    tuned, half = (operating(probability, target, t, Objective()).objective for t in (thresholds, thresholds * 5))
    assert point == pytest.approx((tuned - half).nanmean().item())
    assert low < point < high


@pytest.mark.parametrize(
    ("objective", "said"),
    [
        (Objective("f1"), "`kind` is 'f1', wanted one of 'f_beta'"),
        (Objective(beta=0), "`beta` is 0, wanted a number above 0"),
        (Objective(beta=math.nan), "`beta` is nan"),
        (Objective("recall_at_precision"), "`at` is None, but 'recall_at_precision' wants one"),
        (Objective("precision_at_recall", at=90), "`at` is 90"),
        (Objective("youden", at=0.9), "`at` is 0.9, but 'youden' has no use for it"),
        (Objective("cost"), "`costs` is None, wanted"),
        (Objective("cost", costs=((0, 1), (1,))), "wanted"),
        (Objective("cost", costs=((0, math.inf), (1, 0))), "no finite number"),
        (Objective("cost", costs=((0, 1), (0, 1))), "an error costs no more than what is right"),
        (Objective("f_beta", costs=((0, 1), (5, 0))), "`costs` are given, but 'f_beta'"),
    ],
)
def test_what_does_not_fit_together_is_said(objective, said):
    with pytest.raises(ValueError, match=said):
        objective.check()


def test_objectives_have_names_for_people_and_for_tags():
    for objective in OBJECTIVES:
        objective.check()
    named = [(o.name, o.text) for o in OBJECTIVES[:6]]
    assert named == [
        ("f1", "F1"), ("f0.5", "F0.5"), ("f2.3", "F2.3"), ("youden", "Youden's J"),
        ("recall_at_precision", "recall at precision ≥ 0.7"), ("precision_at_recall", "precision at recall ≥ 0.8"),
    ]  # fmt: skip


def binary_report(objective=OBJECTIVES[0], **options):
    probability, target = data()
    return threshold_report(probability[:, None], target[:, None], objective, class_names=("ill",), **options)


def test_a_binary_report_has_plain_names():
    report = binary_report()
    found = report.scalars()
    assert list(found) == ["f1_at_half", "f1_tuned", "gain", "threshold"]
    assert found["gain"] == pytest.approx(found["f1_tuned"] - found["f1_at_half"])
    assert report.held_out
    assert not report.frozen
    assert "F1 rises by" in report.said


def test_a_report_of_many_labels_has_macro_means_and_a_threshold_for_each():
    probability, target = multilabel(3000, 3)
    report = threshold_report(probability, target, Objective(), class_names=("a", "b", "c"))
    expected = ["f1_macro_at_half", "f1_macro_tuned", "gain", "threshold/a", "threshold/b", "threshold/c"]
    assert list(report.scalars()) == expected
    assert "mean F1 rises by" in report.said
    assert report.gains.nanmean().item() == pytest.approx(report.gain)


def test_a_report_is_plain_json_with_everything():
    figures = json.loads(json.dumps(binary_report().to_dict(), allow_nan=False))
    assert set(figures) >= {"default", "tuned", "curves", "gain", "gain_interval", "objective", "abstention", "notes"}
    assert len(figures["curves"][0]["threshold"]) <= 257


def test_frozen_thresholds_are_applied_as_they_are():
    report = binary_report(frozen=torch.tensor([0.3]), total=9000)
    assert report.frozen
    assert not report.held_out
    assert report.tuned.threshold.tolist() == pytest.approx([0.3])
    assert report.gain == pytest.approx(report.tuned.value - report.default.value)
    assert "figures are from a sample of 5000 of 9000 rows" in report.notes


def test_thresholds_that_win_nothing_on_held_out_rows_are_not_kept():
    generator = torch.Generator().manual_seed(3)
    target = (torch.rand(400, 1, generator=generator) < 0.5).long()
    separable = 0.05 + 0.9 * target + 0.04 * torch.rand(400, 1, generator=generator)
    report = threshold_report(separable, target, Objective(), class_names=("yes",))
    assert report.tuned is None
    assert report.reason.startswith("0.5 is kept: on held-out rows other thresholds would win nothing")
    figures = report.scalars()  # all of them, as a monitor wants them in every epoch
    assert (figures["f1_tuned"], figures["gain"], figures["threshold"]) == (figures["f1_at_half"], 0.0, 0.5)


def test_a_constraint_is_kept_even_where_it_costs_recall_and_is_said_where_half_breaks_it():
    report = binary_report(Objective("recall_at_precision", at=0.97))
    assert report.gain < 0
    assert report.tuned is not None
    assert "at 0.5 precision ≥ 0.97 is not reached" in report.notes
    assert report.said.startswith("recall falls by")


def test_a_cost_that_falls_is_said_as_a_gain():
    report = binary_report(Objective("cost", costs=((0, 1), (5, 0))))
    assert report.gain > 0
    assert report.said.startswith("cost a row falls by")
    assert report.gains.item() == pytest.approx(report.gain)


@pytest.mark.parametrize("labels", [1, 3])
def test_no_rows_give_a_report_without_thresholds(labels):
    names = tuple("abc"[:labels])
    empty = torch.zeros(0, labels), torch.zeros(0, labels, dtype=torch.int64)
    report = threshold_report(*empty, Objective(), class_names=names)
    assert (report.tuned, report.reason) == (None, "no rows were counted")
    frozen = threshold_report(*empty, Objective(), class_names=names, frozen=torch.full((labels,), 0.3))
    assert math.isnan(frozen.gain)
    json.dumps([report.to_dict(), frozen.to_dict()], allow_nan=False)


def test_one_row_and_labels_of_one_kind_raise_nothing_and_are_said():
    report = threshold_report(torch.rand(1, 2), torch.tensor([[1, 0]]), Objective(), class_names=("a", "b"))
    assert report.reason == "0.5 is kept for a (no negative rows); b (no positive rows)"
