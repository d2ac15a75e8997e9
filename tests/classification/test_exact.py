import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightning_posttrain import ClassificationMetrics
from lightning_posttrain.classification.batch import EvalBatch
from lightning_posttrain.classification.functional.report import Findings, classification_report
from lightning_posttrain.classification.metric.confusion import ConfusionCounts
from lightning_posttrain.classification.metric.exact import ExactScores
from lightning_posttrain.classification.metric.histograms import ScoreHistograms
from tests import reference, toys
from tests.classification.test_accumulator import accumulated


@given(
    classes=st.integers(2, 6),
    rows=st.integers(1, 80),
    seed=st.integers(0, 1000),
    scale=st.sampled_from([0.0, 1e-3, 1.0, 40.0]),
    tied=st.booleans(),
    labels=st.booleans(),
)
def test_areas_equal_scikit_learns(classes, rows, seed, scale, tied, labels):
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(rows, classes, generator=generator, dtype=torch.float64)
    if tied:  # equal rows, as sums in another order would not be
        scores = scores[torch.randint(3, (rows,), generator=generator).clamp(max=rows - 1)]
    scores = (scores * scale).float()
    shape = (rows, classes) if labels else (rows,)
    target = torch.randint(2 if labels else classes, shape, generator=generator)
    actual = target.numpy() if labels else np.eye(classes)[target.numpy()]
    found = accumulated(scores, target, [rows // 3], kinds=(ExactScores,))[ExactScores]
    order = scores.double() if labels else reference.log_odds(scores).round(9)
    wanted = reference.areas(actual, order)
    for got, want in zip((found.auroc, found.average_precision), wanted, strict=True):
        np.testing.assert_allclose(got.numpy(), want, atol=1e-6 if scale != 1e-3 else 2e-2)


def test_flat_scores_that_histograms_cannot_tell_apart():
    generator = torch.Generator().manual_seed(0)
    target = torch.randint(4, (2000,), generator=generator)
    scores = torch.randn(2000, 4, generator=generator)
    scores[torch.arange(2000), target] += 1
    scores = scores * 1e-3
    found = accumulated(scores, target, kinds=(ConfusionCounts, ExactScores, ScoreHistograms))
    wanted, _ = reference.areas(np.eye(4)[target.numpy()], reference.log_odds(scores))
    exact = classification_report(Findings.of([found[ConfusionCounts], found[ExactScores]]))
    assert exact["auroc_macro"] == pytest.approx(wanted.mean(), abs=1e-5)
    binned = classification_report(Findings.of([found[ConfusionCounts], found[ScoreHistograms]]))
    low, high = binned.bounds["auroc_macro"]
    assert low <= wanted.mean() <= high
    assert any("known to within" in note for note in binned.notes)


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
