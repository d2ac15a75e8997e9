"""A sample of rows that no order and no split changes."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_posttrain.classification.batch import EvalBatch
from lightning_posttrain.classification.metric.exact import ExactScores
from lightning_posttrain.classification.metric.sample import ScoreSample, row_hash
from tests.classification.test_accumulator import accumulated
from tests.played import join


def made(rows, seed, labels):
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(rows, 4, generator=generator)
    scores[torch.rand(rows, generator=generator) < 0.1, 1] = torch.nan
    shape = (rows, 4) if labels else (rows,)
    return EvalBatch(scores, torch.randint(-1, 2 if labels else 5, shape, generator=generator))


def sampled(batches, capacity):
    ranks = [ScoreSample(4, multilabel=batches[0].multilabel) for _ in range(3)]
    for rank in ranks:
        rank.capacity = capacity
        rank.reset()
    for place, batch in enumerate(batches):
        ranks[place % 3].update(batch)
    join([[rank] for rank in ranks])
    return ranks[1].read(ranks[1].states())


@pytest.mark.parametrize("labels", [False, True])
@settings(max_examples=30)
@given(rows=st.integers(1, 90), capacity=st.integers(1, 50), seed=st.integers(0, 20))
def test_any_order_split_and_ranks_give_the_same_rows(labels, rows, capacity, seed):
    whole = made(rows, seed, labels)
    order = torch.randperm(rows, generator=torch.Generator().manual_seed(seed))
    parts = order.split(7)
    one = sampled([whole], capacity)
    many = sampled([EvalBatch(whole.scores[part], whole.target[part]) for part in parts], capacity)
    assert one.total == many.total
    torch.testing.assert_close(one.scores, many.scores, rtol=0, atol=0, equal_nan=True)
    torch.testing.assert_close(one.target, many.target, rtol=0, atol=0)


def test_all_rows_that_count_are_kept_where_there_is_room():
    whole = made(500, 0, labels=False)
    found = sampled([whole], 1000)
    kept = whole.counted
    assert found.total == len(found.target) == int(kept.sum())
    assert sorted(map(tuple, found.scores.tolist())) == sorted(map(tuple, whole.scores[kept].tolist()))


def test_a_sample_is_drawn_from_all_rows_alike():
    whole = made(20000, 1, labels=False)
    found = sampled(list(map(EvalBatch, whole.scores.split(300), whole.target.split(300))), 2000)
    assert (len(found.target), found.total) == (2000, int(whole.counted.sum()))
    kept = whole.scores[whole.counted]
    # five standard errors
    assert abs(found.scores.mean(0) - kept.mean(0)).max() < 5 * kept.std() * (1 / 2000 - 1 / len(kept)) ** 0.5
    shares = torch.bincount(found.target, minlength=4) / 2000
    assert abs(shares - torch.bincount(whole.target[whole.counted], minlength=4) / len(kept)).max() < 0.05


def test_hashes_of_rows_that_are_nearly_alike_are_spread_evenly():
    scores = torch.zeros(4096, 3)
    scores[:, 0] = torch.arange(4096) / 4096
    hashes = row_hash(scores, torch.ones(4096, 1, dtype=torch.int64))
    assert int(hashes.min()) >= 0
    assert len(hashes.unique()) == 4096
    counts = torch.histc(hashes.double(), 16, 0, 2.0**63)
    assert ((counts - 256) ** 2 / 256).sum() < 45  # chi squared, 15 degrees of freedom
    assert len((hashes % 16).unique()) == 16


@pytest.mark.parametrize("kind", [ExactScores, ScoreSample])
def test_many_small_batches_of_labels_are_kept_as_they_were(kind):
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(40000, 8, generator=generator)
    target = torch.randint(2, (40000, 8), generator=generator)
    small = accumulated(scores, target, list(range(64, 40000, 64)), kinds=(kind,))[kind]
    large = accumulated(scores, target, [], kinds=(kind,))[kind]
    if kind is ScoreSample:
        torch.testing.assert_close(small.scores, large.scores)
    else:
        torch.testing.assert_close(small.auroc.value, large.auroc.value)
