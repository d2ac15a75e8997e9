"""Areas under curves equal scikit-learn's while scores are kept, and lie within their bounds beyond."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sk
from torch.utils.data import TensorDataset

from lightning_posttrain import ClassificationMetrics, ScoreCurves
from lightning_posttrain.classification.batch import EvalBatch
from lightning_posttrain.classification.functional.report import Findings, classification_report
from lightning_posttrain.classification.metric import histograms
from lightning_posttrain.classification.metric.confusion import ConfusionCounts
from lightning_posttrain.classification.metric.histograms import ScoreHistograms
from tests import reference, toys
from tests.classification.test_accumulator import WAITS, Operations, accumulated
from tests.played import join

ALL_FIT = histograms.MEMORY


def ranked(scores, target, *, room=ALL_FIT, cuts=(), ranks=1, valid=None):
    """What ranks find together that take turns in batches and each have ``room`` for scores."""
    metrics = [ScoreHistograms(scores.shape[1], multilabel=target.ndim == 2) for _ in range(ranks)]
    edges = [0, *sorted(min(cut, len(scores)) for cut in cuts), len(scores)]
    for k, (a, b) in enumerate(pairwise(edges)):
        metrics[k % ranks].room = room
        metrics[k % ranks].update(EvalBatch(scores[a:b], target[a:b], None if valid is None else valid[a:b]))
    before = [metric.states() for metric in metrics]
    join([[metric] for metric in metrics])
    found, other = (metric.report(metric.states()) for metric in (metrics[0], metrics[-1]))
    gathered = metrics[0].report({name: torch.cat([states[name] for states in before]) for name in before[0]})
    for same in (other, gathered):
        assert_equal(same, found)
    return found


def assert_equal(one, other):
    """The same areas with the same bounds, however ranks joined what they have."""
    for a, b in zip(
        (*one.micro, one.auroc, one.average_precision),
        (*other.micro, other.auroc, other.average_precision),
        strict=True,
    ):
        for end, same in zip(a, b, strict=True):
            torch.testing.assert_close(end, same, rtol=1e-12, atol=1e-12, equal_nan=True)


def wanted(scores, target):
    """Scikit-learn's areas of each class and of all together."""
    labels = target.ndim == 2
    actual = target.numpy() if labels else np.eye(scores.shape[1])[target.numpy()]
    order = scores.double().numpy() if labels else reference.log_odds(scores)
    together = reference.areas(actual.reshape(-1, 1), order.reshape(-1, 1))
    return (*reference.areas(actual, order), *together)


def assert_within(found, scores, target, *, exact=False):
    areas = (found.auroc, found.average_precision, *found.micro)
    for area, right in zip(areas, wanted(scores, target), strict=True):
        value, low, high = (end.numpy() for end in area)
        assert np.array_equal(np.isnan(value), np.isnan(right))
        low, high = (value, value) if exact else (low, high)
        assert bool((np.nan_to_num(low - right) < 1e-9).all()), (low, right)
        assert bool((np.nan_to_num(right - high) < 1e-9).all()), (high, right)
        assert bool((np.nan_to_num(low) <= np.nan_to_num(value)).all())
        assert bool((np.nan_to_num(value) <= np.nan_to_num(high)).all())


@st.composite
def evaluations(draw):
    """Scores of any scale and offset, with ties or without, and targets that they tell something of."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10_000)))
    rows, classes = draw(st.integers(1, 150)), draw(st.integers(2, 6))
    labels = draw(st.booleans())
    target = torch.randint(2 if labels else classes, (rows, classes) if labels else (rows,), generator=generator)
    scores = torch.randn(rows, classes, generator=generator, dtype=torch.float64)
    scores += target if labels else torch.nn.functional.one_hot(target, classes)
    different = draw(st.sampled_from([None, 2, 20]))
    if different:
        scores = scores[torch.randint(different, (rows,), generator=generator).clamp(max=rows - 1)]
    scale = draw(st.sampled_from([0.0, 2**-13, 2**-7, 1.0, 30.0, 1e4]))
    if draw(st.booleans()) and scale <= 1:  # of larger ones some differ by less than float64 holds
        scores = scores.round()
    scores = scores * scale
    wide = draw(st.booleans())
    # beside an offset float32 has few numbers so near to each other, and log-odds differ by less than it tells apart
    scores = scores + draw(st.sampled_from([0, 50, -300] if wide or scale > 2**-13 else [0]))
    scores = scores if wide else scores.float()
    cuts = draw(st.lists(st.integers(0, rows), max_size=6))
    return scores, target, cuts, draw(st.integers(1, 3))


@given(evaluations())
def test_areas_of_scores_that_are_kept_are_scikit_learns(case):
    scores, target, cuts, ranks = case
    assert_within(ranked(scores, target, cuts=cuts, ranks=ranks), scores, target, exact=True)


@given(evaluations(), st.sampled_from([0, 300, 2000]))
def test_areas_of_scores_that_are_counted_lie_within_their_bounds(case, room):
    scores, target, cuts, ranks = case
    assert_within(ranked(scores, target, room=room, cuts=cuts, ranks=ranks), scores, target)


def shifted(rows, classes, *, labels=False, scale=1.0, offset=0.0):
    generator = torch.Generator().manual_seed(1)
    target = torch.randint(2 if labels else classes, (rows, classes) if labels else (rows,), generator=generator)
    scores = torch.randn(rows, classes, generator=generator)
    scores += 2 * (target if labels else torch.nn.functional.one_hot(target, classes))
    return scores * scale + offset, target


@pytest.mark.parametrize("scale", [1e-4, 1e-2, 1.0, 10.0, 1e4])
@pytest.mark.parametrize("offset", [0.0, 50.0, -300.0])
@pytest.mark.parametrize("labels", [False, True])
def test_bins_adapt_to_any_scale_and_offset(scale, offset, labels):
    if offset and scale == 1e-4:
        pytest.skip("float32 has no more than a few hundred such numbers")
    scores, target = shifted(20_000, 4, labels=labels, scale=scale, offset=offset)
    found = ranked(scores, target, room=100_000, cuts=range(1000, 20_000, 1000), ranks=2)
    assert found.auroc.within > 0
    assert_within(found, scores, target)
    assert found.auroc.within < 5e-4
    assert found.average_precision.within < 1e-3
    assert max(area.within for area in found.micro) < 3e-3


@pytest.mark.parametrize(
    ("scores", "actual", "right"), [([0.5, 0.5], [1, 0], 0.5), ([0.5] * 1000, [1] + [0] * 999, 1e-3)]
)
def test_the_average_precision_of_equal_scores_is_the_share_of_positives(scores, actual, right):
    found = ranked(torch.tensor(scores)[:, None], torch.tensor(actual)[:, None])
    assert found.average_precision.value.item() == pytest.approx(right)
    assert found.auroc.value.item() == 0.5


def test_equal_probabilities_are_equal_whatever_the_order_of_the_other_classes():
    generator = torch.Generator().manual_seed(0)
    others = torch.tensor([0.5, -1.25, 2.0, 0.125, -3.0, 1.5])
    orders = [torch.randperm(6, generator=generator) for _ in range(99)]
    rows = torch.stack([torch.cat([torch.tensor([0.25]), others[order]]) for order in orders])
    rows = torch.cat([rows, rows + 1])
    target = torch.arange(198) % 7
    found = ranked(rows, target)
    assert found.auroc.value[0] == 0.5
    assert found.average_precision.value[0] == int((target == 0).sum()) / 198


@pytest.mark.parametrize("levels", [2, 4, 10, 20, 256])
def test_scores_rounded_to_levels_have_scikit_learns_average_precision(levels):
    generator = torch.Generator().manual_seed(0)
    actual = (torch.rand(4000, 1, generator=generator) < 0.3).long()
    p = (torch.randn(4000, 1, generator=generator) + actual).sigmoid()
    rounded = ((p * levels).round() / levels).clamp(1e-6, 1 - 1e-6).logit()
    found = ranked(rounded, actual)
    right = sk.average_precision_score(actual[:, 0].numpy(), rounded[:, 0].numpy())
    assert found.average_precision.value.item() == pytest.approx(right, abs=1e-12)


def test_positives_that_tie_above_the_negatives_of_their_bin_are_within_the_bound():
    """Equal scores have the precision down to the last of them, more than any order gives them."""
    scores = torch.tensor([1.0] * 20 + [1.0 - 1e-6] * 5 + [2.0] * 7 + [0.0])[:, None]
    target = torch.tensor([1] * 20 + [0] * 13)[:, None]
    assert_within(ranked(scores, target, room=0), scores, target)


@pytest.mark.parametrize(("rows", "exact"), [(65_536, True), (500_000, False)])
def test_sixty_five_thousand_rows_of_ten_classes_are_exact(rows, exact):
    scores, target = torch.randn(rows, 10), torch.arange(rows) % 10
    found = accumulated(scores, target, kinds=(ScoreHistograms,))[ScoreHistograms]
    assert (found.auroc.within == found.micro[1].within == 0) is exact
    assert found.worth[0].startswith(f"areas under curves are {'exact' if exact else 'from histograms'}")


@pytest.mark.parametrize("room", [ALL_FIT, 4000])
@pytest.mark.parametrize("labels", [False, True])
def test_rows_left_out_and_empty_batches_change_nothing(room, labels):
    scores, target = shifted(600, 4, labels=labels)
    spoiled, valid = scores.clone(), torch.ones_like(target, dtype=torch.bool)
    spoiled[200:300] = float("nan")
    spoiled[300:350] = float("inf") if not labels else float("nan")
    valid[350:400] = False
    kept = torch.cat([torch.arange(200), torch.arange(400, 600)])
    found = ranked(spoiled, target, room=room, cuts=[100, 100, 333], valid=valid)
    assert_within(found, scores[kept], target[kept], exact=room == ALL_FIT)
    assert int(found.counts.positives.sum() + found.counts.negatives.sum()) == 4 * 400


def test_a_class_that_is_ruled_out_has_the_lowest_score():
    scores, target = shifted(300, 3)
    scores[::2, 1] = -float("inf")
    for room in (ALL_FIT, 1000):
        found = ranked(scores, target, room=room, cuts=range(0, 300, 50))
        right, _ = reference.areas(np.eye(3)[target.numpy()][:, 1:2], np.nan_to_num(scores.softmax(1).numpy())[:, 1:2])
        assert found.auroc.low[1] - 1e-6 <= right[0] <= found.auroc.high[1] + 1e-6


def test_a_loader_that_is_sorted_by_class_has_narrow_bounds():
    scores, target = shifted(20_000, 5)
    order = target.argsort()
    found = ranked(scores[order], target[order], room=50_000, cuts=range(500, 20_000, 500), ranks=2)
    assert_within(found, scores, target)
    assert found.auroc.within < 1e-3


def test_counting_what_was_kept_never_waits_for_the_device(monkeypatch):
    monkeypatch.setattr(histograms, "MEMORY", 10_000)
    scores, target = shifted(4000, 10)
    for labels in (target, torch.randint(2, (4000, 10))):
        metric = ScoreHistograms(10, multilabel=labels.ndim == 2)
        with Operations() as operations:
            for a in range(0, 4000, 250):
                metric.update(EvalBatch(scores[a : a + 250], labels[a : a + 250]))
        assert metric.tables
        assert not [name for name in operations.seen if any(wait in name for wait in WAITS)]


def test_memory_is_the_same_for_any_number_of_rows(monkeypatch):
    monkeypatch.setattr(histograms, "MEMORY", 100_000)
    metric = ScoreHistograms(10)
    held = []
    for seed in range(40):
        metric.update(EvalBatch(*shifted(500, 10, scale=1 + seed)))
        held.append(sum(part.nbytes for part in (*metric.scores, *metric.binned, *metric.marks)))
        assert sum(part.nbytes for part in metric.tables) <= 16 * 2**20
    assert max(held) <= 100_000
    counts = metric.result().counts
    assert int((counts.positives + counts.negatives).sum()) == 40 * 500 * 10


def test_batches_in_and_after_inference_mode_are_counted(monkeypatch):
    monkeypatch.setattr(histograms, "MEMORY", 1000)
    scores, target = shifted(200, 3)
    metric = ScoreHistograms(3)
    with torch.inference_mode():
        metric.update(EvalBatch(scores[:100], target[:100]))
    metric.update(EvalBatch(scores[100:], target[100:]))
    metric.reset()
    metric.update(EvalBatch(scores, target))
    assert int(metric.result().counts.positives.sum()) == 200


def test_a_figure_that_is_logged_and_known_badly_is_warned_about_once(monkeypatch):
    monkeypatch.setattr(histograms, "MEMORY", 0)
    monkeypatch.setattr(histograms, "bins_for", lambda num_classes: 8)
    data = TensorDataset(toys.images().tensors[0], torch.arange(len(toys.images())) % 4)
    metrics = ClassificationMetrics(on_error="raise")
    with pytest.warns(UserWarning, match=r"auroc_macro is logged and known to within 0\.\d+ only.*exact=True") as said:
        toys.quiet(metrics, max_epochs=3).fit(toys.Net(), toys.loader(), toys.loader(data))
    assert sum("known to within" in str(one.message) for one in said) == 1
    report = metrics.results["val"]
    low, high = report.bounds["auroc_macro"]
    assert high - low > 2e-3
    assert report.doubts()["auroc_macro"] == pytest.approx(
        max(high - report["auroc_macro"], report["auroc_macro"] - low)
    )


def test_the_curves_have_the_areas_that_are_logged():
    metrics, curves = ClassificationMetrics(log=["auroc_*"], on_error="raise"), ScoreCurves(on_error="raise")
    (logged,) = toys.quiet([metrics, curves]).validate(toys.Net(), toys.loader(), verbose=False)
    report, drawn = metrics.results["val"], curves.results["val"]
    assert torch.equal(drawn.auroc, report.per_class["auroc"])
    assert torch.equal(drawn.average_precision, report.per_class["average_precision"])
    assert drawn.micro == (report["auroc_micro"], report["average_precision_micro"])
    assert float(drawn.auroc.mean()) == pytest.approx(logged["val/auroc_macro"], abs=1e-6)
    assert "areas under curves are exact" in report.notes


def test_bounds_of_each_class_stand_in_the_report():
    scores, target = shifted(3000, 3)
    found = classification_report(
        Findings(
            accumulated(scores, target, kinds=(ConfusionCounts,))[ConfusionCounts],
            scores=ranked(scores, target, room=0),
        )
    )
    assert found.class_bounds["auroc"].shape == (2, 3)
    assert set(found.doubts()) >= {"auroc_macro", "average_precision_micro", "per_class/auroc/2"}
    assert any("areas under curves are from histograms" in note for note in found.notes)
