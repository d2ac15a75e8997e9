"""Every figure from batches of any size equals scikit-learn's from all rows at once."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode
from torchmetrics.functional import classification as tm

from lightning_posttrain.classification.accumulator import Accumulator
from lightning_posttrain.classification.batch import EvalBatch
from lightning_posttrain.classification.functional.report import Findings, classification_report
from lightning_posttrain.classification.metric.confusion import ConfusionCounts
from lightning_posttrain.classification.metric.histograms import ScoreHistograms
from lightning_posttrain.classification.metric.probabilities import LossSums, RankCounts, ReliabilityBins
from lightning_posttrain.core.stream import stage_sizes
from lightning_posttrain.core.stream.stage_sizes import HOST, accelerator_sizes
from tests import reference

KINDS = (ConfusionCounts, LossSums, RankCounts, ReliabilityBins, ScoreHistograms)


def accumulated(scores, target, cuts=(), kinds=KINDS, valid=None):
    """What the metrics amount to after the rows came in batches."""
    labels = target.ndim == 2
    metrics = [kind(scores.shape[1], multilabel=labels) for kind in kinds]
    accumulator = Accumulator(metrics, scores.shape[1], multilabel=labels)
    edges = [0, *sorted(min(cut, len(scores)) for cut in cuts), len(scores)]
    for a, b in pairwise(edges):
        accumulator.add(EvalBatch(scores[a:b], target[a:b], None if valid is None else valid[a:b]))
    accumulator.flush()
    return {type(metric): metric.report(metric.states()) for metric in metrics}


def report(found, **options):
    return classification_report(Findings(*(found[kind] for kind in KINDS)), **options)


@st.composite
def cases(draw):
    classes = draw(st.integers(2, 7))
    rows = draw(st.integers(1, 90))
    seed = draw(st.integers(0, 10_000))
    scale = draw(st.sampled_from([0.0, 0.3, 1.0, 30.0]))
    generator = torch.Generator().manual_seed(seed)
    present = draw(st.integers(1, classes))  # the other classes are absent
    scores = torch.randn(rows, classes, generator=generator) * scale
    if draw(st.booleans()):
        scores = scores.round(decimals=0)  # ties
    scores = scores.to(draw(st.sampled_from([torch.float32, torch.float64, torch.bfloat16])))
    scores = scores if scores.dtype == torch.float64 else scores.float()
    cuts = draw(st.lists(st.integers(0, rows), max_size=5))
    return scores, generator, present, cuts


def assert_areas(found, actual, order):
    ranked = found[ScoreHistograms]
    for got, wanted in zip((ranked.auroc, ranked.average_precision), reference.areas(actual, order), strict=True):
        np.testing.assert_allclose(got.value.numpy(), wanted, atol=1e-9)


@given(cases())
def test_multiclass(case):
    scores, generator, present, cuts = case
    classes = scores.shape[1]
    target = torch.randint(present, (len(scores),), generator=generator)
    found = accumulated(scores, target, cuts)
    actual, predicted = target.numpy(), scores.argmax(1).numpy()
    np.testing.assert_array_equal(
        found[ConfusionCounts].counts.numpy(), reference.report(actual, predicted, classes)["counts"]
    )
    got = report(found, top_k=[1, 2, 3])
    reference.assert_equal(got, reference.report(actual, predicted, classes))
    for name, value in reference.losses(actual, scores).items():
        assert got[name] == pytest.approx(value, rel=1e-5, abs=2e-6), name
    order = np.argsort(-scores.numpy(), axis=1, kind="stable")
    for k in range(1, min(4, classes)):
        assert got[f"top_{k}_accuracy"] == pytest.approx((order[:, :k] == actual[:, None]).any(1).mean())
    assert_areas(found, np.eye(classes)[actual], reference.log_odds(scores))


@given(cases())
def test_multilabel(case):
    scores, generator, present, cuts = case
    target = torch.randint(2, scores.shape, generator=generator)
    target[:, present:] = 0
    found = accumulated(scores, target, cuts)
    got = report(found)
    actual, predicted = target.numpy(), (scores > 0).long().numpy()
    reference.assert_equal(got, reference.labels_report(actual, predicted))
    each = [
        reference.losses(y, np.stack([-z / 2, z / 2], 1))
        for y, z in zip(actual.T, scores.double().numpy().T, strict=True)
    ]
    assert got["log_loss"] == pytest.approx(np.mean([one["log_loss"] for one in each]), rel=1e-5, abs=2e-6)
    np.testing.assert_allclose(got.per_class["brier"].numpy(), [one["brier"] for one in each], atol=2e-6)
    assert_areas(found, actual, scores.double())


def test_the_calibration_error_equals_torchmetrics():
    scores, target = torch.randn(400, 5, generator=torch.Generator().manual_seed(0)) * 2, torch.arange(400) % 5
    theirs = tm.multiclass_calibration_error(scores.softmax(1), target, 5, n_bins=15)
    assert report(accumulated(scores, target))["ece"] == pytest.approx(float(theirs), abs=1e-6)


@pytest.mark.parametrize("rows", [HOST.scores // 3 + 5, HOST.rows * 3 + 7])
def test_more_rows_than_are_gathered_at_a_time(rows):
    generator = torch.Generator().manual_seed(0)
    scores, target = torch.randn(rows, 3, generator=generator), torch.randint(3, (rows,), generator=generator)
    whole, pieces = accumulated(scores, target), accumulated(scores, target, range(0, rows, 999))
    assert all(whole[kind].to_dict() == pieces[kind].to_dict() for kind in KINDS)
    assert whole[ConfusionCounts].counts.sum() == rows


def test_a_batch_of_many_million_scores_is_looked_at_in_slices():
    scores, target = torch.zeros(600_000, 2), torch.zeros(600_000, dtype=torch.long)
    assert accumulated(scores, target)[ConfusionCounts].counts.tolist() == [[600_000, 0], [0, 0]]


def test_a_change_of_precision_between_batches_loses_no_row():
    metric = ConfusionCounts(3)
    accumulator = Accumulator([metric], 3)
    for dtype in (torch.float32, torch.float64, torch.float32):
        accumulator.add(EvalBatch(torch.eye(3, dtype=dtype), torch.arange(3)))
    accumulator.flush()
    assert metric.counts[0].diagonal().tolist() == [3, 3, 3]


@pytest.mark.parametrize("labels", [False, True])
def test_rows_that_are_not_valid_or_have_nan_enter_nothing(labels):
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(60, 4, generator=generator)
    target = torch.randint(2, (60, 4) if labels else (60,), generator=generator)
    spoiled, valid = scores.clone(), torch.ones_like(target, dtype=torch.bool)
    spoiled[40:50] = float("nan")
    valid[50:] = False
    found = accumulated(spoiled, target, [10, 45], valid=valid)
    clean = accumulated(scores[:40], target[:40])
    assert found[ConfusionCounts].nonfinite == (40 if labels else 10)
    for kind in KINDS[1:]:
        assert found[kind].to_dict() == clean[kind].to_dict()
    assert torch.equal(found[ConfusionCounts].counts, clean[ConfusionCounts].counts)


def test_labels_that_are_certain_count_as_such():
    scores = torch.tensor([[float("inf"), -float("inf")]]).repeat(4, 1)
    found = report(accumulated(scores, torch.tensor([[1, 0]] * 4)))
    assert found["accuracy"] == 1
    assert found["log_loss"] == 0
    wrong = report(accumulated(scores, torch.tensor([[0, 0]] * 4)))
    assert any("4 rows gave their own class probability 0" in alert for alert in wrong.alerts)
    assert wrong["log_loss"] == pytest.approx(36.04 / 2, abs=0.01)


def test_probabilities_so_near_one_that_float32_has_no_other_are_told_apart():
    generator = torch.Generator().manual_seed(0)
    target = torch.randint(2, (4000,), generator=generator)
    margin = 40 + 10 * torch.randn(4000, generator=generator) + 8 * target
    scores = torch.stack([torch.zeros(4000), margin], 1)
    assert_areas(accumulated(scores, target), np.eye(2)[target.numpy()], reference.log_odds(scores))


class Operations(TorchDispatchMode):
    """Records what is run on tensors, without mere views and memory."""

    VIEWS = ("view", "expand", "slice", "unsqueeze", "select", "empty", "alias", "detach", "transpose", "as_strided")

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if not any(view in str(func) for view in self.VIEWS):
            self.seen.append(str(func))
        return func(*args, **(kwargs or {}))


WAITS = ("_local_scalar_dense", "item", "nonzero", "masked_select", "unique", "bincount", "aten.index.", "where.self_")


@pytest.mark.parametrize(("classes", "rows", "most"), [(1000, 256, 25), (10, 64, 4)])
def test_an_update_is_few_kernels_and_never_waits(classes, rows, most):
    accumulator = Accumulator([kind(classes) for kind in KINDS], classes)
    batches = [EvalBatch(torch.randn(rows, classes), torch.zeros(rows, dtype=torch.long)) for _ in range(3)]
    accumulator.add(batches[0])
    accumulator.add(batches[1])
    with Operations() as operations:
        accumulator.add(batches[2])
    assert len(operations.seen) <= most, operations.seen
    with Operations() as operations:
        for batch in batches * 20:
            accumulator.add(batch)
        accumulator.flush()
    assert not [name for name in operations.seen if any(wait in name for wait in WAITS)]


@pytest.mark.parametrize("labels", [False, True])
def test_an_accelerator_that_gathers_more_at_a_time_counts_the_same(labels, monkeypatch):
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(9000, 30, generator=generator)
    target = torch.randint(2 if labels else 30, (9000, 30) if labels else (9000,), generator=generator)
    cuts = [0, 3, 4, 900, 901, 905, 1800, 1801, 5000, 8999]
    host = accumulated(scores, target, cuts)
    monkeypatch.setattr(stage_sizes, "HOST", accelerator_sizes(80 << 30, labels=labels))
    found = accumulated(scores, target, cuts)
    assert all(found[kind].to_dict() == host[kind].to_dict() for kind in KINDS[:-1])
    assert torch.equal(found[ScoreHistograms].auroc.value, host[ScoreHistograms].auroc.value)


@pytest.mark.parametrize("classes", [10, 100, 1000])
def test_on_an_accelerator_an_update_is_two_copies_and_little_else(classes, monkeypatch):
    monkeypatch.setattr(stage_sizes, "HOST", accelerator_sizes(80 << 30))
    accumulator = Accumulator([kind(classes) for kind in KINDS], classes)
    batch = EvalBatch(torch.randn(256, classes), torch.zeros(256, dtype=torch.long))
    with Operations() as operations:
        for _ in range(60):
            accumulator.add(batch)
        held = sum(part.nbytes for part in accumulator._gathered)
        accumulator.flush()
    assert len(operations.seen) <= 8 * 60
    assert held <= 4 * 60 * (batch.scores.nbytes + batch.target.nbytes) + HOST.scores * 8


def test_state_does_not_grow_with_rows_and_is_small():
    metrics = [kind(1000) for kind in KINDS[:-1]]  # scores are kept up to a room of their own
    states = [state for metric in metrics for state in metric.states().values()]
    before = sum(state.numel() * state.element_size() for state in states)
    assert before <= 16 * 2**20
    metrics[0].update(EvalBatch(torch.randn(50, 1000), torch.zeros(50, dtype=torch.long)))
    after = [state for metric in metrics for state in metric.states().values()]
    assert sum(state.numel() * state.element_size() for state in after) == before
