"""Figures of as many rows as no run here could count: states are set as if they had been."""

from fractions import Fraction

import pytest
import torch

from lightning_posttrain.classification.batch import EvalBatch
from lightning_posttrain.classification.functional.report import classification_report
from lightning_posttrain.classification.metric.confusion import ConfusionCounts
from lightning_posttrain.classification.metric.histograms import ScoreHistograms
from lightning_posttrain.classification.metric.probabilities import LossSums, ReliabilityBins

TIMES = [10**9, 10**10]
"""How often 48 rows were counted: 5e11 in all are what the sum of losses has room for."""


def counted(kind, classes=3):
    """A metric of 48 rows of which some are taken for others, and some are sure and wrong."""
    generator = torch.Generator().manual_seed(5)
    scores = 4 * torch.randn(48, classes, generator=generator, dtype=torch.float64)
    target = torch.randint(classes, (48,), generator=generator)
    target[:30] = scores[:30].argmax(1)
    scores[30:40] *= 20
    metric = kind(classes)
    metric.update(EvalBatch(scores, target))
    return metric


def as_if(metric, times):
    """The result of as many such batches."""
    states = {name: state * times for name, state in metric.states().items()}
    assert all(int(state.min()) >= 0 for state in states.values()), "a sum has no room"
    return metric.read(states)


@pytest.mark.parametrize("times", TIMES)
def test_mean_losses_of_many_rows_are_those_of_few(times):
    metric = counted(LossSums)
    one, many = metric.result(), as_if(metric, times)
    torch.testing.assert_close(many.log_loss, one.log_loss, rtol=1e-14, atol=0)
    torch.testing.assert_close(many.brier, one.brier, rtol=1e-14, atol=0)


@pytest.mark.parametrize("times", [*TIMES, 10**11])
def test_confidences_of_many_rows_are_those_of_few(times):
    for classes in (2, 3):
        metric = counted(ReliabilityBins, classes)
        one, many = metric.result(), as_if(metric, times)
        torch.testing.assert_close(many.confidence / times, one.confidence, rtol=1e-14, atol=0)
        assert torch.equal(many.right, one.right * times)


def test_rows_that_are_all_as_wrong_as_can_be_have_room():
    metric = LossSums(3)
    metric.update(EvalBatch(torch.tensor([[100.0, 0.0, 0.0]]), torch.tensor([1])))
    found = as_if(metric, 5 * 10**11)
    assert found.brier.tolist() == [2.0]
    assert found.log_loss.tolist() == [100.0]


@pytest.mark.parametrize("times", [10**9, 10**12, 10**15])
def test_figures_of_counts_are_those_of_fractions(times):
    confusion = as_if(counted(ConfusionCounts), times)
    found = classification_report(confusion).to_dict()
    table = [[Fraction(count) for count in row] for row in confusion.counts.tolist()]
    rows = [sum(row) for row in table]
    columns = [sum(column) for column in zip(*table, strict=True)]
    total, right = sum(rows), sum(table[k][k] for k in range(3))
    expected = sum(a * b for a, b in zip(rows, columns, strict=True))
    assert found["accuracy"] == pytest.approx(float(right / total), rel=1e-14)
    kappa = (right * total - expected) / (total * total - expected)
    assert found["cohen_kappa"] == pytest.approx(float(kappa), rel=1e-12)
    spread = [float(total * total - sum(n * n for n in side)) for side in (rows, columns)]
    mcc = float(right * total - expected) / (spread[0] * spread[1]) ** 0.5
    assert found["mcc"] == pytest.approx(mcc, rel=1e-12)
    f1 = [float(2 * table[k][k] / (rows[k] + columns[k])) for k in range(3)]
    assert found["f1_macro"] == pytest.approx(sum(f1) / 3, rel=1e-14)


@pytest.mark.parametrize("times", [10**9, 10**12])
def test_areas_of_counted_scores_are_those_of_few(times):
    metric = counted(ScoreHistograms)
    metric.room = 0
    metric._count()
    states = metric.states()
    one, many = metric.read(states), metric.read({**states, "tables": states["tables"] * times})
    for area, same in zip((many.micro[0], many.auroc), (one.micro[0], one.auroc), strict=True):
        torch.testing.assert_close(area.value, same.value, rtol=1e-12, atol=0)
    # rows of one bin are ordered in all ways, of which there are hardly more for so many
    some = metric.read({**states, "tables": states["tables"] * 10**8})
    torch.testing.assert_close(many.average_precision.value, some.average_precision.value, rtol=1e-6, atol=0)
