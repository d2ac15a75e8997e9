"""Laws that hold for every metric of counts and sums: a new one is covered by a line in ``METRICS``."""

import pickle
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightning_posttrain.classification.batch import EvalBatch
from lightning_posttrain.classification.metric.confusion import ConfusionCounts
from lightning_posttrain.classification.metric.probabilities import LossSums, RankCounts, ReliabilityBins

METRICS = [ConfusionCounts, LossSums, RankCounts, ReliabilityBins]
CLASSES = 5


def rows(count: int, seed: int) -> EvalBatch:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(count, CLASSES, generator=generator).round(decimals=1)  # with ties
    scores[torch.rand(count, generator=generator) < 0.1, 2] = float("nan")
    target = torch.randint(-1, CLASSES + 1, (count,), generator=generator)
    return EvalBatch(scores, target, torch.rand(count, generator=generator) < 0.9)


def part(batch: EvalBatch, chosen: torch.Tensor | slice) -> EvalBatch:
    return EvalBatch(batch.scores[chosen], batch.target[chosen], batch.real[chosen])


def state(kind, batches):
    metric = kind(CLASSES)
    for batch in batches:
        metric.update(batch)
    return {name: value.clone() for name, value in metric.states().items()}


def assert_same(a, b):
    assert a.keys() == b.keys()
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=0, atol=0)


@pytest.mark.parametrize("kind", METRICS)
@given(count=st.integers(0, 60), cuts=st.lists(st.integers(0, 60), max_size=5), seed=st.integers(0, 10))
def test_any_split_into_batches_and_ranks_gives_the_same_state(kind, count, cuts, seed):
    whole = rows(count, seed)
    edges = [0, *sorted(min(cut, count) for cut in cuts), count]
    pieces = [part(whole, slice(a, b)) for a, b in pairwise(edges)]
    assert_same(state(kind, [whole]), state(kind, pieces))
    ranks = [state(kind, pieces[r::2]) for r in (0, 1)]
    assert_same(state(kind, [whole]), {name: ranks[0][name] + ranks[1][name] for name in ranks[0]})


@pytest.mark.parametrize("kind", METRICS)
@given(count=st.integers(1, 60), seed=st.integers(0, 10))
def test_the_order_of_rows_does_not_matter(kind, count, seed):
    whole = rows(count, seed)
    shuffled = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    assert_same(state(kind, [whole]), state(kind, [part(whole, shuffled)]))


@pytest.mark.parametrize("kind", METRICS)
def test_an_empty_batch_changes_nothing(kind):
    assert_same(state(kind, [rows(20, 0)]), state(kind, [rows(0, 0), rows(20, 0), rows(0, 0)]))


@pytest.mark.parametrize("kind", METRICS)
def test_rows_that_are_not_real_change_nothing(kind):
    batch = rows(20, 0)
    repeats = EvalBatch(batch.scores, batch.target, torch.zeros(20, dtype=torch.bool))
    assert_same(state(kind, [batch]), state(kind, [batch, repeats]))


@pytest.mark.parametrize("kind", METRICS)
def test_results_twice_are_the_same_and_change_no_state(kind):
    metric = kind(CLASSES)
    metric.update(rows(20, 0))
    before = {name: value.clone() for name, value in metric.states().items()}
    assert metric.result().to_dict() == metric.result().to_dict()
    assert_same(before, metric.states())


@pytest.mark.parametrize("kind", METRICS)
def test_a_result_does_not_change_with_later_updates(kind):
    metric = kind(CLASSES)
    metric.update(rows(20, 0))
    result = metric.result()
    before = result.to_dict()
    metric.update(rows(20, 1))
    assert result.to_dict() == before


@pytest.mark.parametrize("kind", METRICS)
def test_reset_forgets_and_pickling_keeps(kind):
    metric = kind(CLASSES)
    metric.update(rows(20, 0))
    assert_same(metric.states(), pickle.loads(pickle.dumps(metric)).states())
    metric.reset()
    assert_same(metric.states(), kind(CLASSES).states())


@pytest.mark.parametrize("kind", METRICS)
def test_states_are_integer_or_double_tensors_and_stay_out_of_checkpoints(kind):
    metric = kind(CLASSES)
    assert {value.dtype for value in metric.states().values()} <= {torch.int64, torch.float64}
    assert not metric.state_dict()


@pytest.mark.parametrize("kind", METRICS)
def test_a_metric_made_outside_inference_mode_can_be_updated_in_and_after_it(kind):
    metric = kind(CLASSES)
    with torch.inference_mode():
        metric.update(rows(20, 0))
    metric.update(rows(20, 1))
    assert_same(metric.states(), state(kind, [rows(20, 0), rows(20, 1)]))
