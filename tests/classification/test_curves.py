import csv

import numpy as np
import pytest
import torch
from sklearn import metrics as sk
from torch import nn
from torch.utils.data import TensorDataset

from lightning_posttrain import ScoreCurves
from lightning_posttrain.classification.batch import EvalBatch
from lightning_posttrain.classification.functional.curves import curve_report, points_at
from lightning_posttrain.classification.functional.ranking import precision_recall_curve, roc_curve
from lightning_posttrain.classification.metric.histograms import ScoreHistograms
from tests import reference, toys


def counted(rows=500, classes=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    target = torch.randint(classes, (rows,), generator=generator)
    scores = torch.randn(rows, classes, generator=generator)
    scores[torch.arange(rows), target] += 1
    metric = ScoreHistograms(classes)
    metric.update(EvalBatch(scores, target))
    return metric.result(), np.eye(classes)[target.numpy()], reference.log_odds(scores)


def named(found):
    return curve_report(found, tuple(map(str, range(len(found.auroc.value)))))


def test_points_of_the_roc_curve_lie_on_scikit_learns():
    counts, actual, order = counted()
    ours = roc_curve(*counts.counts.sides)
    for k in range(3):
        x, y, _ = sk.roc_curve(actual[:, k], order[:, k], drop_intermediate=False)
        assert ours.x[0, k] == ours.y[0, k] == 0
        assert ours.x[-1, k] == ours.y[-1, k] == 1
        aside, above = (np.abs(a[:, k, None].numpy() - b) for a, b in zip(ours, (x, y), strict=True))
        assert np.maximum(aside, above).min(axis=1).max() < 0.01
        assert sk.auc(ours.x[:, k], ours.y[:, k]) == pytest.approx(sk.auc(x, y), abs=1e-3)


def test_points_of_the_precision_recall_curve_lie_on_scikit_learns():
    counts, actual, order = counted()
    ours = precision_recall_curve(*counts.counts.sides)
    for k in range(3):
        precision, recall, _ = sk.precision_recall_curve(actual[:, k], order[:, k])
        for x, y in zip(ours.x[1:, k].tolist(), ours.y[1:, k].tolist(), strict=True):
            if np.isfinite(y):
                near = np.abs(recall - x) < 0.011
                assert np.abs(precision[near] - y).min() < 0.02


def test_the_micro_average_takes_all_classes_together():
    counts, actual, order = counted()
    p = torch.tensor(order).sigmoid().numpy()
    auroc, precision = named(counts).micro
    assert auroc == pytest.approx(sk.roc_auc_score(actual, p, average="micro"), abs=1e-12)
    assert precision == pytest.approx(sk.average_precision_score(actual, p, average="micro"), abs=1e-12)


@pytest.mark.parametrize(
    ("classes", "absent", "said"), [(30, 0, "25 other classes"), (30, 2, "23 of 25 other classes"), (3, 0, None)]
)
def test_the_legend_counts_the_other_classes_and_those_drawn_where_these_are_fewer(written, classes, absent, said):
    counts, _, _ = counted(900, classes - absent)
    if absent:
        generator = torch.Generator().manual_seed(1)
        metric = ScoreHistograms(classes)
        metric.update(EvalBatch(torch.randn(900, classes, generator=generator), torch.arange(900) % (classes - absent)))
        counts = metric.result()
    list(ScoreCurves().show(named(counts), "val"))
    legends = [text for text, _ in written if "other class" in text]
    assert legends == ([] if said is None else [said] * 2)


def test_counts_at_thresholds_are_those_above_them():
    counts, actual, order = counted(classes=2)
    found = points_at(counts.counts, torch.linspace(0, 1, 11, dtype=torch.float64))
    p = 1 / (1 + np.exp(-order))
    for i, threshold in enumerate(found.threshold.numpy()):
        assert abs(threshold - i / 10).max() < 0.01
        above = p >= threshold
        np.testing.assert_allclose(found.true_positive[i].numpy(), (above & (actual == 1)).sum(0), atol=1)
        np.testing.assert_allclose(found.true_negative[i].numpy(), (~above & (actual == 0)).sum(0), atol=1)
    total = found.true_positive + found.false_positive + found.true_negative + found.false_negative
    assert bool((total == 500).all())


def test_thresholds_where_no_score_lies_stay_where_they_are():
    scores = 1e-3 * torch.randn(200, 2, generator=torch.Generator().manual_seed(0))
    metric = ScoreHistograms(2)
    metric.update(EvalBatch(scores, torch.arange(200) % 2))
    found = points_at(metric.result().counts, torch.linspace(0, 1, 10, dtype=torch.float64))
    np.testing.assert_allclose(found.threshold[:, 1].numpy(), np.linspace(0, 1, 10))
    assert found.true_positive[:, 1].tolist() == [100] * 5 + [0] * 5


def test_curves_of_scores_that_are_nearly_alike_are_those_of_scores_that_are_not():
    target, scores = torch.arange(300) % 2, torch.randn(300, 2, generator=torch.Generator().manual_seed(0))
    curves = []
    for scale in (1.0, 1e-4):
        metric = ScoreHistograms(2)
        metric.update(EvalBatch(scores * scale, target))
        curves.append(roc_curve(*metric.result().counts.sides))
    x = np.linspace(0, 1, 50)
    ours = [np.interp(x, curve.x[:, 1].numpy(), curve.y[:, 1].numpy()) for curve in curves]
    assert np.abs(ours[0] - ours[1]).max() < 0.02


def test_a_binary_task_has_one_curve(tmp_path):
    data = TensorDataset(torch.randn(40, 3), torch.arange(40) % 2)

    class Binary(toys.Net):
        def __init__(self):
            super().__init__()
            self.model = nn.Linear(3, 1)

        def step(self, batch, stage):
            self(batch[0])

    curves = ScoreCurves(task="binary", class_names=["no", "yes"], on_error="raise")
    toys.quiet(curves).validate(Binary(), toys.loader(data), verbose=False)
    assert curves.results["val"].class_names == ("yes",)
    folder = tmp_path / "posttrain" / "val"
    assert (folder / "roc_curve.png").exists()
    with (folder / "curve_points.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 127
    assert {row["class"] for row in rows} == {"yes"}


def test_classes_without_rows_have_no_curve_and_are_named():
    metric = ScoreHistograms(3)
    metric.update(EvalBatch(torch.randn(20, 3), torch.arange(20) % 2))
    report = named(metric.result())
    assert torch.isnan(report.auroc).tolist() == [False, False, True]
    assert report.notes == ("no curve of 2: no rows, or all", "areas under curves are exact")


@pytest.mark.parametrize("classes", [2, 4, 30])
def test_it_draws_any_number_of_classes(classes):
    curves = ScoreCurves(max_curves=2)
    report = named(counted(300, classes)[0])
    shown = list(curves.show(report, "val"))
    assert [tagged.tag for tagged in shown][:3] == ["roc_curve", "precision_recall_curve", "areas_under_curves"]
    assert len(shown) == 4 + 1 + 2
    assert shown[0].artifact.pixels.shape == (640, 960, 3)


def test_more_classes_than_histograms_are_kept_for_cost_one_sentence():
    data = TensorDataset(torch.randn(4, 3), torch.arange(4))
    module = toys.Net()
    module.model = nn.Linear(3, 4097)
    curves = ScoreCurves(on_error="raise")
    with pytest.warns(UserWarning, match="4,096 are the most"):
        toys.quiet(curves).validate(module, toys.loader(data), verbose=False)
    assert curves.results == {}


def near_perfect(wrong, rows=4000):
    """Two classes, told apart but for some rows, whose scores are the other way round."""
    target = torch.arange(rows) % 2
    scores = torch.randn(rows, 2, generator=torch.Generator().manual_seed(0)) * 0.1
    said = torch.where(torch.arange(rows) < wrong, 1 - target, target)
    scores[torch.arange(rows), said] += 6
    metric = ScoreHistograms(2)
    metric.update(EvalBatch(scores, target))
    return metric.result()


@pytest.mark.parametrize(("wrong", "side"), [(8, 0.005), (1000, 1.0)])
def test_a_good_models_curves_are_drawn_where_they_bend(wrong, side, monkeypatch, written):
    from lightning_posttrain.classification.render import curves as drawing

    ranges = []
    draw = drawing.Axes.draw
    monkeypatch.setattr(
        drawing.Axes, "draw", lambda self, *a, **o: ranges.append((self.x_range, self.y_range)) or draw(self, *a, **o)
    )
    found = near_perfect(wrong)
    report = named(found)
    sides = found.counts.sides
    drawing.roc_image(report, roc_curve(*sides), roc_curve(*sides), "val")
    drawing.precision_recall_image(report, precision_recall_curve(*sides), precision_recall_curve(*sides), "val")
    assert ranges == [((0.0, side), (1 - side, 1.0)), ((1 - side, 1.0), (1 - side, 1.0))]
    assert any("corner" in text for text, _ in written) == (side < 1)


def test_curves_on_the_frame_are_said_to_lie_there(written):
    from lightning_posttrain.classification.render.curves import FRAME, is_perfect, roc_image

    for wrong, there in ((0, True), (40, False)):
        written.clear()
        found = near_perfect(wrong)
        assert is_perfect(named(found).auroc) == there
        roc_image(named(found), roc_curve(*found.counts.sides), roc_curve(*found.counts.sides), "val")
        assert any(FRAME in text for text, _ in written) == there
    assert not is_perfect(torch.full((3,), torch.nan))
