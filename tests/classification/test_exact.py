import numpy as np
import pytest
import torch

from lightning_posttrain import ClassificationMetrics
from lightning_posttrain.classification.batch import EvalBatch
from lightning_posttrain.classification.functional import ranked
from lightning_posttrain.classification.functional.histograms import all_bins, bin_of
from lightning_posttrain.classification.logged_figures import LOGGED, doubtful, matching
from lightning_posttrain.classification.metric import histograms
from lightning_posttrain.classification.metric.confusion import ConfusionCounts
from lightning_posttrain.classification.metric.exact import ExactScores
from lightning_posttrain.classification.metric.histograms import ScoreHistograms
from lightning_posttrain.classification.report_plan import ReportPlan
from lightning_posttrain.classification.result.scores import ranked_of
from tests import reference, toys
from tests.classification.test_accumulator import accumulated


@pytest.mark.parametrize("labels", [False, True])
def test_all_scores_are_kept_however_many(monkeypatch, labels):
    monkeypatch.setattr(histograms, "MEMORY", 1000)
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(3000, 4, generator=generator) * 1e-3
    target = torch.randint(2 if labels else 4, (3000, 4) if labels else (3000,), generator=generator)
    found = accumulated(scores, target, [700, 1900], kinds=(ExactScores, ScoreHistograms))
    actual = target.numpy() if labels else np.eye(4)[target.numpy()]
    wanted = reference.areas(actual, scores.double() if labels else reference.log_odds(scores))
    for got, want in zip((found[ExactScores].auroc, found[ExactScores].average_precision), wanted, strict=True):
        np.testing.assert_allclose(got.value.numpy(), want, atol=1e-12)
    assert found[ExactScores].within == (0, 0) < found[ScoreHistograms].within
    assert ranked_of(found.values()) is found[ExactScores]


def test_more_scores_together_than_are_sorted_have_a_bound(monkeypatch):
    scores, target = torch.randn(500, 4), torch.arange(500) % 4
    exact = accumulated(scores, target, kinds=(ExactScores,))[ExactScores]
    monkeypatch.setattr(ranked, "EXACT_TOGETHER", 100)
    found = accumulated(scores, target, kinds=(ExactScores,))[ExactScores]
    assert torch.equal(found.auroc.value, exact.auroc.value)
    assert found.auroc.within == 0 < found.micro[0].within
    for area, right in zip(found.micro, exact.micro, strict=True):
        assert area.low <= right.value <= area.high


def test_areas_of_more_classes_than_have_histograms_are_known():
    scores, target = torch.randn(20, 4100), torch.arange(20)
    found = accumulated(scores, target, kinds=(ExactScores, ScoreHistograms))
    assert found[ExactScores].known
    assert not len(found[ExactScores].counts.positives)
    assert found[ExactScores].within == (0, 0)
    assert not found[ScoreHistograms].known
    assert found[ScoreHistograms].worth == ()


def test_rows_left_out_are_left_out():
    scores, target = torch.randn(50, 3), torch.arange(50) % 3
    spoiled, valid = scores.clone(), torch.ones(50, dtype=torch.bool)
    spoiled[30:40] = float("nan")
    valid[40:] = False
    metric, clean = ExactScores(3), ExactScores(3)
    metric.update(EvalBatch(spoiled, target, valid))
    clean.update(EvalBatch(scores[:30], target[:30]))
    assert metric.result().to_dict() == clean.result().to_dict()


def test_it_is_asked_for_by_one_argument_and_forgets_between_epochs():
    metrics = ClassificationMetrics(exact=True, on_error="raise")
    module = toys.Net()
    toys.quiet(metrics, max_epochs=3).fit(module, toys.loader(), toys.loader())
    actual, _ = toys.predictions(module, toys.images())
    with torch.no_grad():
        scores = module(toys.images().tensors[0])
    wanted, _ = reference.areas(np.eye(4)[actual], reference.log_odds(scores))
    report = metrics.results["val"]
    assert report["auroc_macro"] == pytest.approx(wanted.mean(), abs=1e-6)
    assert report.bounds["auroc_macro"] == (report["auroc_macro"],) * 2


def test_what_is_not_logged_is_worked_out_when_it_is_asked_for(monkeypatch):
    scores, target = torch.randn(60, 3), torch.arange(60) % 3
    counted = accumulated(scores, target, kinds=(ConfusionCounts, ScoreHistograms))
    report = ReportPlan("multiclass", curves=True).report(counted.values())
    monkeypatch.setattr(ranked, "exact_areas_together", lambda *_: pytest.fail("worked out"))
    assert list(matching(LOGGED["multiclass"], report)) == [
        "accuracy", "balanced_accuracy", "mcc", "f1_macro", "f1_weighted", "auroc_macro",
    ]  # fmt: skip
    assert not doubtful(report, ["auroc_macro", "per_class/auroc/0"])
    assert "auroc_micro" in report.overall
    with pytest.raises(pytest.fail.Exception, match="worked out"):
        report["auroc_micro"]


def test_bins_of_many_places_are_those_of_each_class():
    places = torch.randn(7, 50_000, dtype=torch.float64)
    axis = histograms.fitted_axis(places, torch.ones(50_000, 1))
    for own in (axis, axis[:1]):
        assert torch.equal(all_bins(places, own, 4096), bin_of(places, own, 4096))
    assert all_bins(places[:, :0], axis, 16).shape == (7, 0)
