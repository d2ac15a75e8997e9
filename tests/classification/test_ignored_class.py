"""A class that ``ignore_index`` leaves out is in no mean, as in scikit-learn with ``labels`` without it."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sk
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics.functional import classification as tm

from lightning_posttrain import (
    Calibration,
    ClassificationMetrics,
    ConfusionMatrix,
    DecisionThresholds,
    GeneralizationGap,
    ScoreCurves,
)
from lightning_posttrain.classification.functional.report import Findings, classification_report
from lightning_posttrain.classification.metric.confusion import ConfusionCounts
from lightning_posttrain.classification.metric.exact import ExactScores
from lightning_posttrain.classification.metric.histograms import ScoreHistograms
from lightning_posttrain.classification.reading import ClassReading
from lightning_posttrain.classification.result.confusion import Confusion
from lightning_posttrain.core.capture.loaders import Rows
from lightning_posttrain.core.stream.reading import Given
from tests import toys

AVERAGED = {"precision": sk.precision_score, "recall": sk.recall_score, "f1": sk.f1_score, "jaccard": sk.jaccard_score}


def counted(logits, target, ignored, kinds=(ConfusionCounts,), task="multiclass"):
    reading = ClassReading(task=task, ignore_index=ignored)
    batch = reading.batch(logits, Given(target, target, None), Rows(None, None))
    part = reading.part(reading.likeness(batch), kinds, torch.device("cpu"))
    part.add(batch)
    part.flush()
    return part.results()


@st.composite
def ignoring(draw):
    classes = draw(st.integers(3, 7))
    label = st.integers(0, classes - 1)
    rows = draw(st.lists(st.tuples(label, label), min_size=1, max_size=60))
    return classes, draw(label), np.array(rows)


@given(ignoring())
def test_every_mean_is_scikit_learns_over_the_other_classes(case):
    classes, ignored, rows = case
    actual, predicted = rows.T
    logits = F.one_hot(torch.from_numpy(predicted), classes).double()
    report = classification_report(Findings.of(counted(logits, torch.from_numpy(actual), ignored).values()))
    kept = actual != ignored
    actual, predicted = actual[kept], predicted[kept]
    labels = [k for k in range(classes) if k != ignored and (k in actual or k in predicted)]
    there = [k for k in labels if k in actual]
    for name, theirs in AVERAGED.items():
        of = there if name == "recall" else labels
        for average in ("macro", "weighted"):
            expected = theirs(actual, predicted, labels=of, average=average, zero_division=0) if there else np.nan
            assert report[f"{name}_{average}"] == pytest.approx(expected, nan_ok=True), (name, average)
        assert report.per_class[name][ignored].isnan()
    if there:
        cells = sk.multilabel_confusion_matrix(actual, predicted, labels=labels)
        ends = [tn / (tn + fp) for (tn, fp), _ in cells if tn + fp]
        assert report["specificity_macro"] == pytest.approx(np.mean(ends) if ends else np.nan, nan_ok=True)
        recalls = sk.recall_score(actual, predicted, labels=there, average=None)
        assert report["balanced_accuracy"] == pytest.approx(recalls.mean())


def scored(seed=0):
    generator = torch.Generator().manual_seed(seed)
    target = torch.randint(0, 3, (200,), generator=generator)
    return torch.randn(200, 3, generator=generator), target


@pytest.mark.parametrize("exact", [False, True])
def test_areas_are_scikit_learns_over_the_other_classes(exact):
    logits, target = scored()
    kinds = (ConfusionCounts, ScoreHistograms, *((ExactScores,) if exact else ()))
    report = classification_report(Findings.of(counted(logits, target, 0, kinds).values()))
    kept, chance = target != 0, logits.softmax(1)
    marks = F.one_hot(target[kept], 3)[:, 1:]
    for average in ("macro", "weighted", "micro"):
        area = sk.roc_auc_score(marks, chance[kept][:, 1:], average=average)
        assert report[f"auroc_{average}"] == pytest.approx(area, abs=1e-3)
        precision = sk.average_precision_score(marks, chance[kept][:, 1:], average=average)
        assert report[f"average_precision_{average}"] == pytest.approx(precision, abs=5e-3)


def test_the_table_says_that_the_class_has_no_figures_and_why():
    report = classification_report(
        Confusion(torch.tensor([[0, 0, 0], [1, 3, 0], [2, 0, 4]]), ("void", "a", "b"), ignored=(0,))
    )
    assert all(values[0].isnan() for values in report.per_class.values())
    assert report.undefined == (
        "rows of void are left out by ignore_index: no figures of it, nor is it in a mean; to predict it is wrong",
    )
    assert report["accuracy"] == 0.7
    assert report["recall_macro"] == pytest.approx((3 / 4 + 4 / 6) / 2)
    assert report["precision_macro"] == 1.0


def test_intervals_are_of_the_means_without_the_class():
    confusion = Confusion(torch.tensor([[0, 0, 0], [5, 30, 0], [5, 0, 40]]), ("void", "a", "b"), ignored=(0,))
    report = classification_report(confusion, resamples=200)
    assert report.intervals["precision_macro"] == (1.0, 1.0)
    low, high = report.intervals["jaccard_macro"]
    assert low < report["jaccard_macro"] < high


class Segmenter(toys.Net):
    """Gives each pixel a class; its loss may leave one out."""

    def __init__(self, **loss):
        super().__init__()
        self.model, self.loss = nn.Conv2d(2, 3, 1), loss

    def step(self, batch, stage):
        self.log(f"{stage}/loss", F.cross_entropy(self(batch[0]), batch[1], **self.loss))

    def training_step(self, batch, batch_idx):
        return F.cross_entropy(self(batch[0]), batch[1], **self.loss)


def masks(rows=9):
    generator = torch.Generator().manual_seed(0)
    return TensorDataset(
        torch.rand(rows, 2, 8, 6, generator=generator), torch.randint(0, 3, (rows, 8, 6), generator=generator)
    )


@pytest.mark.parametrize(("said", "loss"), [(0, {}), (None, {"ignore_index": 0}), (2, {"ignore_index": 2})])
def test_the_mean_intersection_over_union_is_torchmetrics_whoever_says_what_is_ignored(said, loss):
    data, ignored = masks(), loss.get("ignore_index", said)
    module, metrics = Segmenter(**loss), ClassificationMetrics(ignore_index=said, curves=False)
    trainer = toys.quiet(metrics)
    trainer.validate(module, DataLoader(data, batch_size=4), verbose=False)
    with torch.no_grad():
        predicted = module(data.tensors[0]).argmax(1)
    expected = tm.multiclass_jaccard_index(predicted, data.tensors[1], 3, ignore_index=ignored)
    assert trainer.callback_metrics["val/jaccard_macro"].item() == pytest.approx(expected.item(), abs=1e-6)


def test_every_callback_leaves_the_class_out_where_the_loss_does():
    data = DataLoader(masks(), batch_size=4)
    metrics, matrix, curves, calibration = (
        ClassificationMetrics(), ConfusionMatrix(), ScoreCurves(), Calibration(),
    )  # fmt: skip
    thresholds = DecisionThresholds(task="multiclass", one_vs_rest=True)
    gap = GeneralizationGap(figures=["jaccard_macro"])
    module = Segmenter(ignore_index=0)
    toys.quiet([metrics, matrix, curves, calibration, thresholds, gap]).fit(module, data, data)
    confusion = matrix.results["val"]
    assert confusion.ignored == (0,)
    assert confusion.counts[0].sum() == 0
    assert "left out by ignore_index" in confusion.notes[0]
    assert curves.results["val"].notes == (
        "no curve of 0, whose rows are left out by ignore_index",
        "areas under curves are exact",
    )
    assert thresholds.results["val"].default.objective.isnan().tolist() == [True, False, False]
    with torch.no_grad():
        chance = module(masks().tensors[0]).softmax(1).movedim(1, -1).reshape(-1, 3).double()
    target = masks().tensors[1].reshape(-1)
    kept = target != 0
    each = [tm.binary_calibration_error(chance[kept, k], target[kept] == k, n_bins=15).item() for k in (1, 2)]
    assert calibration.results["val"].before.classwise_ece == pytest.approx(np.mean(each), abs=1e-6)
    (pair,) = gap.results["train"].history["jaccard_macro"]
    assert pair.val == metrics.results["val"]["jaccard_macro"]


def test_stages_may_leave_out_different_classes():
    data = DataLoader(masks(), batch_size=4)

    class Mixed(Segmenter):
        def step(self, batch, stage):
            self.loss = {} if stage == "test" else {"ignore_index": 0}
            return super().step(batch, stage)

    module, metrics, matrix = Mixed(), ClassificationMetrics(curves=False), ConfusionMatrix()
    trainer = toys.quiet([metrics, matrix])
    trainer.fit(module, data, data)
    assert matrix.results["val"].ignored == (0,)
    trainer.test(module, data, verbose=False)
    assert matrix.results["test"].ignored == ()
    assert matrix.results["test"].counts.sum() == masks().tensors[1].numel()


def test_labels_of_a_multilabel_task_are_no_classes_to_leave_out():
    logits, target = torch.randn(20, 3), torch.randint(0, 2, (20, 3))
    reading = ClassReading(task="multilabel", ignore_index=0)
    batch = reading.batch(logits, Given(target, target, None), Rows(None, None))
    assert reading.likeness(batch) == (3, 0)
    assert batch.counted.sum() == target.sum()
