import json

import numpy as np
import pytest
import torch
from scipy.optimize import minimize, minimize_scalar
from sklearn.metrics import accuracy_score, f1_score
from sklearn.metrics import log_loss as sklearn_log_loss

from lightning_posttrain.calibration import fit_calibrator, folds_of
from lightning_posttrain.calibration.functional.cross_fit import log_loss
from lightning_posttrain.classification import TASKS
from lightning_posttrain.ensembles import STRATEGIES, TITLES, cross_fit, log_probabilities
from lightning_posttrain.thresholds import Objective, choose_thresholds
from lightning_posttrain.tuning import tune_knobs
from lightning_posttrain.tuning.functional.crossed import Rows, calibrated, decisions, of_rows
from lightning_posttrain.tuning.functional.decisions import decide
from lightning_posttrain.tuning.score_tables import tables_of


def drawn(task, rows=150, classes=4, hot=2.0, seed=0):
    """Scores that are too sure of themselves by a factor, and what came true."""
    generator = torch.Generator().manual_seed(seed)
    logits = 1.5 * torch.randn(rows, 2 if task == "binary" else classes, generator=generator).double()
    if task == "multilabel":
        target = (torch.rand(logits.shape, generator=generator) < (logits - 1).sigmoid()).long()
    else:
        target = torch.multinomial(logits.softmax(1), 1, generator=generator)[:, 0]
    return hot * logits, target


def softmax(values):
    shifted = np.exp(values - values.max(1, keepdims=True))
    return shifted / shifted.sum(1, keepdims=True)


def chances(logits, task):
    return 1 / (1 + np.exp(-logits)) if task == "multilabel" else softmax(logits)


def loss(logits, target, task):
    if task == "multilabel":
        p = chances(logits, task)
        return np.mean([sklearn_log_loss(target[:, k], p[:, k], labels=[0, 1]) for k in range(p.shape[1])])
    return sklearn_log_loss(target, chances(logits, task), labels=range(logits.shape[1]))


def one_threshold(p, y):
    """The best cut for F1 by trying each, that nearest 0.5 of equal ones, in the middle in log-odds."""
    values = np.unique(p)
    found = []
    for low, high in zip([*values[:-1]], [*values[1:]], strict=True):
        odds = (np.log(low / (1 - low)) + np.log(high / (1 - high))) / 2
        cut = 1 / (1 + np.exp(-odds))
        hits = ((p >= cut) & (y == 1)).sum()
        found.append((round(2 * hits / ((p >= cut).sum() + (y == 1).sum()), 12), -abs(cut - 0.5), cut))
    return max(found)[2]


def slow(logits, target, task, *, calibrate, tune):
    """Held-out log loss, macro F1 and accuracy of one setting, a fold at a time."""
    logits, target = logits.numpy(), target.numpy()
    fold = folds_of(len(target), 5).numpy()
    held_out, said = logits.copy(), np.zeros(target.shape, dtype=int)
    for number in range(5):
        own, rest = fold == number, fold != number
        if calibrate:
            find = minimize_scalar(
                lambda log, rest=rest: loss(logits[rest] / np.exp(log), target[rest], task), (-2, 2), tol=1e-10
            )
            held_out[own] = logits[own] / np.exp(find.x)
            fitted = logits / np.exp(find.x)
        else:
            fitted = logits
        said[own] = predicted(chances(fitted, task), target, own, rest, task, tune=tune)
    average = "binary" if task == "binary" else "macro"
    accuracy = (said == target).mean() if task == "multilabel" else accuracy_score(target, said)
    return loss(held_out, target, task), f1_score(target, said, average=average), accuracy


def predicted(p, target, own, rest, task, *, tune):
    if task == "multiclass":
        classes = range(p.shape[1])
        cuts = [one_threshold(p[rest, k], target[rest] == k) for k in classes] if tune else [0.5 for _ in classes]
        odds = np.log(p / (1 - p)) - np.log(np.array(cuts) / (1 - np.array(cuts)))
        return odds[own].argmax(1)
    if task == "binary":
        return p[own, 1] >= (one_threshold(p[rest, 1], target[rest]) if tune else 0.5)
    cuts = [one_threshold(p[rest, k], target[rest, k]) if tune else 0.5 for k in range(p.shape[1])]
    return p[own] >= np.array(cuts)


@pytest.mark.parametrize("task", TASKS)
def test_every_setting_is_that_of_a_slow_loop_with_scikit_learn(task):
    logits, target = drawn(task)
    tables = {"one": logits, "two": logits + torch.randn(logits.shape, generator=torch.Generator().manual_seed(1))}
    found = tune_knobs(tables, target, task=task, calibrators=["temperature"])
    assert len(found.settings) == 2 * 2 * 2
    for setting in found.settings:
        calibrate, tune = setting.calibrator == "temperature", setting.rule == "F1"
        expected = slow(tables[setting.scores], target, task, calibrate=calibrate, tune=tune)
        assert (setting.log_loss, setting.figure, setting.accuracy) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("task", TASKS)
def test_labels_of_a_fold_change_nothing_that_it_is_judged_by(task):
    logits, target = drawn(task)
    fold = folds_of(len(target), 5)
    other = torch.where((fold == 2).reshape(-1, *(1,) * (target.ndim - 1)), target.flip(0), target)
    assert not torch.equal(target[fold == 2], other[fold == 2])
    said = []
    for each in (target, other):
        rows = Rows.of(each, fold, task, logits.shape[1])
        pair = calibrated("temperature", lambda fold: logits, rows)
        said.append((pair.by_fold[2][fold == 2], decisions(pair, rows, Objective())[fold == 2]))
    assert torch.equal(said[0][0], said[1][0])
    assert torch.equal(said[0][1], said[1][1])


@pytest.mark.parametrize("task", TASKS)
def test_what_is_taken_is_fitted_to_all_rows(task):
    logits, target = drawn(task, rows=600)
    found = tune_knobs(logits, target, task=task, calibrators=["temperature"])
    assert found.best.calibrator == "temperature"
    alone = fit_calibrator("temperature", logits, target, task)
    assert float(found.calibrator.temperature) == float(alone.temperature)
    p = found.probabilities(logits)
    if found.thresholds is not None:
        labels = torch.nn.functional.one_hot(target, 4) if task == "multiclass" else target.reshape(p.shape)
        assert torch.equal(found.thresholds, choose_thresholds(p, labels, Objective()).thresholds)
    assert found.decisions(logits).shape == target.shape


def test_intervals_are_of_differences_of_the_same_rows():
    logits, target = drawn("multiclass", rows=500)
    found = tune_knobs(logits, target, task="multiclass", calibrators=["temperature"])
    fold = folds_of(500, 5)
    held_out = logits.clone()
    for number in range(5):
        left = fold == number
        held_out[left] = fit_calibrator("temperature", logits[~left], target[~left], "multiclass")(logits[left])
    apart = torch.nn.functional.cross_entropy(logits, target, reduction="none")
    apart = (apart - torch.nn.functional.cross_entropy(held_out, target, reduction="none")).numpy()
    error = 1.96 * apart.std(ddof=1) / 500**0.5
    expected = (apart.mean(), apart.mean() - error, apart.mean() + error)
    assert found.best.log_loss_gain == pytest.approx(expected, rel=1e-4)
    assert found.decision_gain[0] == pytest.approx(found.best.figure - found.start.figure)
    assert found.decision_gain[1] <= found.decision_gain[0] <= found.decision_gain[2]


def test_of_scores_that_are_right_as_they_are_nothing_is_taken():
    logits, target = drawn("multiclass", rows=2000, hot=1.0)
    found = tune_knobs({"first": logits, "the same": logits.clone()}, target, task="multiclass", calibrators=[])
    assert found.best.scores == "first"
    assert (found.best.calibrator, found.best.log_loss_gain) == ("none", (0.0, 0.0, 0.0))
    alone = tune_knobs(logits, target, task="multiclass", calibrators=["temperature"])
    assert not alone.kept
    assert "nothing to do: of 4 settings none is better" in alone.words


def test_a_better_table_wins_and_is_named_with_its_interval():
    logits, target = drawn("multiclass", rows=800)
    worse = logits + 3 * torch.randn(logits.shape, generator=torch.Generator().manual_seed(3))
    found = tune_knobs({"best single": worse, "mean": logits}, target, task="multiclass")
    assert found.best.scores == "mean"
    assert found.words.startswith(f"mean, {found.best.calibrator}")
    assert "log loss" in found.words
    assert "95 % interval" in found.words
    assert found.table[0]["log loss"] == min(setting.log_loss for setting in found.settings)
    assert [row["taken"] for row in found.table].count("yes") == 1
    assert str(found).startswith(found.words)
    json.dumps(found.to_dict(), allow_nan=False)


def test_labels_that_are_missing_do_not_count():
    logits, target = drawn("multilabel", rows=400)
    target[torch.rand(target.shape, generator=torch.Generator().manual_seed(5)) < 0.3] = -1
    found = tune_knobs(logits, target, task="multilabel")
    assert found.start.log_loss == pytest.approx(log_loss(logits, target, "multilabel"), rel=1e-12)
    expected = [
        f1_score(y[y >= 0], p[y >= 0] > 0) for y, p in zip(target.T.numpy(), logits.T.numpy(), strict=True)
    ]  # fmt: skip
    assert found.start.figure == pytest.approx(np.mean(expected))


def test_contributions_of_rows_have_the_mean_over_labels_of_their_means():
    losses = torch.rand(50, 3, dtype=torch.float64)
    losses[torch.rand(50, 3) < 0.4] = torch.nan
    losses[:, 2] = torch.nan
    assert float(of_rows(losses).mean()) == pytest.approx(float(losses.nanmean(0).nanmean()))


def test_a_rule_with_a_constraint_is_taken_where_it_alone_keeps_it():
    logits, target = drawn("binary", rows=4000, seed=2)
    found = tune_knobs(logits, target, task="binary", objectives=[Objective("recall_at_precision", at=0.85)])
    assert not found.start.met
    assert found.best.rule == "recall at precision ≥ 0.85"
    assert found.best.met
    assert "recall 0.6202 instead of 0.7731, for precision ≥ 0.85, 0.153 lower" in found.words


def test_where_no_rule_keeps_a_constraint_the_one_that_was_made_to_is_taken_and_it_is_said():
    logits, target = drawn("binary", rows=4000, seed=2)
    found = tune_knobs(logits, target, task="binary", objectives=[Objective("recall_at_precision", at=0.9)])
    assert found.best.rule == "recall at precision ≥ 0.9"
    assert not found.best.met
    assert "the constraint of recall at precision ≥ 0.9 is missed on held-out rows" in found.notes


def test_one_score_a_row_is_that_of_class_one():
    logits, target = drawn("binary")
    margin = logits[:, 1] - logits[:, 0]
    both = [tune_knobs(each, target, task="binary") for each in (logits, margin, margin[:, None])]
    for found in both[1:]:
        assert [s.log_loss for s in found.settings] == pytest.approx([s.log_loss for s in both[0].settings])


def test_a_method_that_a_fold_is_too_poor_for_is_left_out_with_its_reason():
    logits, target = drawn("multiclass", rows=100)
    target[target == 3] = 2
    target[7] = 3
    found = tune_knobs(logits, target, task="multiclass")
    assert {setting.calibrator for setting in found.settings} == {"none", "temperature"}
    assert "vector scaling is left out, too few rows of class 3" in " ".join(found.notes)


def test_a_cost_is_better_where_it_is_lower():
    logits, target = drawn("binary", rows=2000)
    cost = Objective("cost", costs=((0, 1), (10, 0)))
    found = tune_knobs(logits, target, task="binary", objectives=[cost])
    assert found.best.rule == "cost"
    assert found.best.figure < found.start.figure
    assert found.decision_gain[0] == pytest.approx(found.start.figure - found.best.figure)
    assert "lower (95 % interval" in found.words


def test_a_class_is_said_where_it_is_farthest_above_its_threshold():
    p = torch.tensor([[0.5, 0.4, 0.1], [0.98, 0.01, 0.01]], dtype=torch.float64)
    at = torch.tensor([0.9, 0.3, torch.nan], dtype=torch.float64)
    assert decide(p, at, "multiclass").long().argmax(1).tolist() == [1, 0]
    sure = torch.tensor([[1.0, 0.0, 0.0]], dtype=torch.float64)
    assert decide(sure, torch.tensor([1 + 2.0**-23, 0.0, 0.5]), "multiclass").sum() == 1


def members(task, rows=240, number=3):
    """Scores of members that are the same model behind noise of several sizes."""
    logits, target = drawn(task, rows, hot=1.0)
    noise = torch.randn(rows, number, logits.shape[1], generator=torch.Generator().manual_seed(9)).double()
    return logits[:, None] + noise * torch.tensor([1.5, 1.0, 2.0])[:number, None].double(), target


def joined(scores, target, task, strategy, rest):
    """Logits of all rows by a mixture whose weights were fitted to some rows alone, by SciPy."""
    p = torch.sigmoid(scores).numpy() if task == "multilabel" else scores.softmax(2).numpy()
    number = p.shape[1]

    def mixed(weights):
        each = np.tensordot(p, weights, (1, 0))
        if task == "multilabel":
            return np.log(each) - np.log1p(-each)
        return np.log(each)

    def losses(weights):
        own = slow_losses(mixed(weights)[rest], target[rest].numpy(), task)
        return own.sum()

    if strategy == "mean":
        return mixed(np.full(number, 1 / number))
    if strategy == "best":
        return mixed(min(np.eye(number), key=losses))

    def with_prior(free):
        weights = np.exp(free - free.max()) / np.exp(free - free.max()).sum()
        return losses(weights) - np.log(weights).mean()

    found = minimize(with_prior, np.zeros(number), method="BFGS", options={"gtol": 1e-6}).x
    return mixed(np.exp(found) / np.exp(found).sum())


def slow_losses(logits, target, task):
    if task == "multilabel":
        return np.log1p(np.exp(np.where(target == 1, -logits, logits)))
    return -np.log(softmax(logits)[np.arange(len(target)), target])


@pytest.mark.parametrize("task", TASKS)
def test_weights_and_temperature_of_members_are_fitted_to_the_same_rows_as_in_a_slow_loop(task):
    scores, target = members(task)
    found = tune_knobs(scores, target, task=task, strategies=["best", "mean", "convex"], calibrators=["temperature"])
    assert len(found.settings) == 3 * 2 * 2
    named = {"best checkpoint": "best", "mean of probabilities": "mean", "convex weights": "convex"}
    fold = folds_of(len(target), 5).numpy()
    for setting in found.settings:
        if setting.rule == "F1":
            continue
        held_out = np.empty(target.shape) if task == "multilabel" else np.empty((len(target), scores.shape[2]))
        for number in range(5):
            own, rest = fold == number, fold != number
            logits, heat = joined(scores, target, task, named[setting.scores], rest), 0.0
            if setting.calibrator == "temperature":
                heat = minimize_scalar(
                    lambda log, logits=logits, rest=rest: slow_losses(
                        logits[rest] / np.exp(log), target[rest].numpy(), task
                    ).mean(),
                    (-2, 2), tol=1e-10,
                ).x  # fmt: skip
            held_out[own] = logits[own] / np.exp(heat)
        expected = slow_losses(held_out, target.numpy(), task).mean()
        assert setting.log_loss == pytest.approx(expected, abs=2e-5), setting


def test_strategies_without_a_calibrator_have_the_losses_of_the_ensembles_own_cross_fit():
    scores, target = members("multiclass", rows=1100)
    found = tune_knobs(scores, target, task="multiclass", calibrators=[])
    logp, flat = log_probabilities(scores, target, "multiclass")
    alone = cross_fit(list(STRATEGIES), logp, flat)
    assert "stacking" in {setting.scores for setting in found.settings}
    for setting in found.settings:
        name = next(name for name, title in TITLES.items() if title == setting.scores)
        assert setting.log_loss == pytest.approx(alone.log_loss[name], rel=1e-12)


def test_what_is_taken_of_members_is_called_on_members():
    scores, target = members("multiclass", rows=800)
    found = tune_knobs(scores, target, task="multiclass", calibrators=["temperature"])
    assert found.start.scores == "best checkpoint"
    assert found.best.scores != "best checkpoint"
    assert found.combination is not None
    others, _ = members("multiclass", rows=50)
    logp = found.combination(others.log_softmax(2))
    expected = found.calibrator(logp).softmax(1)
    torch.testing.assert_close(found.probabilities(others), expected)
    assert found.decisions(others).shape == (50,)
    assert any(note.startswith(f"{found.best.scores}: ") for note in found.notes)
    printed = str(found).splitlines()
    assert sum("best checkpoint" in line and "argmax" in line and "none" in line for line in printed) == 1
    assert sum(line.endswith("yes") for line in printed) == 1
    assert any(line.startswith("and ") and line.endswith(" more") for line in printed)
    json.dumps(found.to_dict(), allow_nan=False)


@pytest.mark.parametrize("task", TASKS)
def test_labels_of_a_fold_move_no_weight_that_it_is_judged_by(task):
    scores, target = members(task)
    fold = folds_of(len(target), 5)
    other = torch.where((fold == 2).reshape(-1, *(1,) * (target.ndim - 1)), target.flip(0), target)
    said = [
        tables_of({"members": scores}, each, task, strategies=None, folds=5, alone=True).named
        for each in (target, other)
    ]
    for name, table in said[0].items():
        assert torch.equal(table.scores(2), said[1][name].scores(2))
    assert not torch.equal(said[0]["convex weights"].scores(None), said[1]["convex weights"].scores(None))


def test_members_of_two_runs_and_one_model_stand_in_one_table():
    scores, target = members("binary", rows=400)
    margin = (scores[..., 1] - scores[..., 0])[..., None]
    tables = {"live": scores[:, 0], "run": scores, "the same": margin}
    found = tune_knobs(tables, target, task="binary", strategies=["mean", "convex"], calibrators=[])
    losses = {setting.scores: setting.log_loss for setting in found.settings}
    assert list(losses) == [
        "live",
        "run: mean of probabilities",
        "run: convex weights",
        "the same: mean of probabilities",
        "the same: convex weights",
    ]
    assert losses["run: convex weights"] == pytest.approx(losses["the same: convex weights"], rel=1e-9)


def test_strategies_that_cannot_be_fitted_are_left_out_with_their_reason():
    scores, target = members("multiclass", rows=60)
    found = tune_knobs(scores, target, task="multiclass", calibrators=[])
    assert "stacking is left out, as " in " ".join(found.notes)
    with pytest.raises(ValueError, match="`strategies` has none that can be fitted: stacking is left out, as"):
        tune_knobs(scores, target, task="multiclass", strategies=["stacking"])
    alone = tune_knobs(scores[:, :1], target, task="multiclass", calibrators=[])
    assert {setting.scores for setting in alone.settings} == {"best checkpoint"}


LOGITS, TARGET = drawn("multiclass", rows=40)


@pytest.mark.parametrize(
    ("scores", "target", "options", "said"),
    [
        ({}, TARGET, {}, "`scores` has no table"),
        (LOGITS, TARGET, {"task": "regression"}, "`task` is 'regression', wanted one of"),
        (LOGITS[:, None], TARGET[:9], {}, r"has shape \(40, 1, 4\) and `target` \(9,\), .* of K members \(N, K, C\)"),
        (LOGITS[:, None], TARGET, {"strategies": ["median"]}, "`strategies` is 'median', wanted some of"),
        (LOGITS, TARGET[:9], {}, r"has shape \(40, 4\) and `target` \(9,\), wanted \(N, C\)"),
        (LOGITS, TARGET, {"task": "binary"}, r"wanted \(N, 2\), \(N, 1\) or \(N,\)"),
        (LOGITS, TARGET, {"task": "multilabel"}, r"wanted \(N, L\) with a target \(N, L\)"),
        ({"a": LOGITS, "b": LOGITS[:, :3]}, TARGET.clamp(max=2), {}, "tables of several shapes: a"),
        (LOGITS.where(LOGITS > -3, torch.nan), TARGET, {}, "'scores' is NaN in .* rows"),
        (LOGITS, TARGET * 0, {}, "`target` has one class alone"),
        (LOGITS, TARGET + 1, {}, "values that are none of 4 classes"),
        (LOGITS, TARGET - 1, {}, "values that are none of 4 classes"),
        (LOGITS[:6], TARGET[:6], {}, "`folds` is 5 for 6 rows"),
        (LOGITS, TARGET, {"folds": 1}, "`folds` is 1"),
        (LOGITS, TARGET, {"objectives": []}, "`objectives` has none"),
        (LOGITS, TARGET, {"objectives": [Objective("cost")]}, "`costs` is None"),
        (LOGITS, TARGET, {"calibrators": ["platt"]}, "`method` is 'platt', wanted 'temperature' or 'vector'"),
    ],
)
def test_bad_input_is_a_sentence(scores, target, options, said):
    with pytest.raises(ValueError, match=said):
        tune_knobs(scores, target, **{"task": "multiclass", **options})
