"""Laws of what is summed and kept of members: any split into batches and ranks gives the same."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lightning_posttrain.classification import EvalBatch
from lightning_posttrain.ensembles import entropy_parts, kept_scores, member_rows, paired_interval
from lightning_posttrain.ensembles.kept_scores import RowScores
from lightning_posttrain.ensembles.metric import Judged, PairSums
from tests.played import join

MEMBERS, CLASSES = 3, 4


def drawn(task, samples, seed=0, each=1):
    """Scores of each member, targets, and what counts."""
    generator = torch.Generator().manual_seed(seed)
    if task == "labels":
        scores = torch.randn(MEMBERS, samples, CLASSES, generator=generator)
        target = torch.randint(2, (samples, CLASSES), generator=generator)
        valid = torch.rand(samples, CLASSES, generator=generator) < 0.7
    else:
        scores = 2 * torch.randn(MEMBERS, samples * each, CLASSES, generator=generator)
        target = torch.randint(CLASSES, (samples * each,), generator=generator)
        valid = torch.rand(samples * each, generator=generator) < 0.8
    return scores, target, valid


def batches(task, samples, size, each=1, world=1, rank=0):
    """As members score them, of one rank, whose samples are dealt in turn."""
    scores, target, valid = drawn(task, samples, each=each)
    own = torch.arange(samples)[rank::world]
    for part in own.split(size) if len(own) else ():
        rows = (part[:, None] * each + torch.arange(each)).flatten()
        yield [
            EvalBatch(one[rows], target[rows], valid[rows], samples=len(part) if each > 1 else None) for one in scores
        ]


def empty(task, each):
    scores, target, valid = drawn(task, 1, each=each)
    return [EvalBatch(one[:0], target[:0], valid[:0], samples=0 if each > 1 else None) for one in scores]


def judged(batch, task):
    """Strategies are the members themselves."""
    logp = member_rows(
        torch.stack([one.scores for one in batch], 1), "multilabel" if task == "labels" else "multiclass"
    )
    return Judged(batch, batch, torch.stack(entropy_parts(logp)[:2]))


def pair_sums(task, parts):
    metric = PairSums(MEMBERS, MEMBERS)
    for batch in parts:
        metric.update(judged(batch, task))
    return metric


FORMS = [("classes", 1), ("labels", 1), ("pixels", 6)]
EXACT = ("sums", "wrong", "differs", "entropy", "number")


@pytest.mark.parametrize(("task", "each"), FORMS)
def test_sums_of_pairs_are_those_of_any_split_and_order(task, each):
    whole = pair_sums(task, batches(task, 60, 60, each)).states()
    for size in (1, 7, 59):
        parts = list(batches(task, 60, size, each))
        other = pair_sums(task, [empty(task, each), *parts[::-1]]).states()
        assert all(torch.equal(whole[name], other[name]) for name in EXACT)
        assert torch.allclose(whole["spread"], other["spread"], rtol=1e-12)


@pytest.mark.parametrize(("task", "each"), FORMS)
def test_sums_of_pairs_add_over_ranks(task, each):
    whole = pair_sums(task, batches(task, 60, 60, each)).states()
    ranks = [pair_sums(task, batches(task, 60, 8, each, world=3, rank=rank)).states() for rank in range(3)]
    summed = {name: sum(rank[name] for rank in ranks) for name in whole}
    assert all(torch.equal(whole[name], summed[name]) for name in EXACT)
    assert torch.allclose(whole["spread"], summed["spread"], rtol=1e-12)


@pytest.mark.parametrize(("task", "each"), FORMS)
def test_pairs_are_what_is_worked_out_row_by_row(task, each):
    scores, target, valid = drawn(task, 60, each=each)
    found = pair_sums(task, batches(task, 60, 7, each)).pairs()
    if task == "labels":
        loss = np.logaddexp(0, np.where(target.numpy() == 1, -1, 1) * scores.double().numpy()).reshape(MEMBERS, -1)
        hits = ((scores > 0) == (target == 1)).reshape(MEMBERS, -1).double().numpy()
    else:
        logits = scores.double().numpy()
        own = np.take_along_axis(logits, target.numpy()[None, :, None].repeat(MEMBERS, 0), 2)[..., 0]
        loss = np.logaddexp.reduce(logits, 2) - own
        hits = (logits.argmax(2) == target.numpy()).astype(float)
    real = valid.flatten().numpy()
    sample = torch.arange(60).repeat_interleave(CLASSES if task == "labels" else each)[torch.from_numpy(real)]
    for moments, figures in ((found.loss, loss), (found.hits, hits)):
        apart = torch.from_numpy((figures - figures[:1])[:, real].T)
        assert torch.allclose(moments.mean, apart.mean(0), atol=1e-6)
        assert torch.allclose(moments.interval(), paired_interval(apart, sample), atol=1e-6)
        assert moments.samples == len(sample.unique())
        assert moments.rows == real.sum()


def test_nothing_gives_no_figures():
    found = PairSums(2, 2).pairs()
    assert bool(found.loss.mean.isnan().all())
    assert found.loss.interval() is None


def table(task, samples, size, *, each=1, world=1, members=slice(None), extra=()):
    """What is kept, by ranks that join what they have."""
    metrics = []
    for rank in range(world):
        count = len(range(MEMBERS)[members])
        metric = RowScores(count, CLASSES, labels=task == "labels", world=world, rank=rank)
        for batch in extra:
            metric.update(batch)
        for batch in batches(task, samples, size, each, world, rank):
            metric.update(batch[members])
        metrics.append(metric)
    join([[metric] for metric in metrics])
    assert same(metrics[0].kept(), metrics[-1].kept())
    return metrics[0].kept()


def same(one, other):
    return (
        torch.equal(one.scores, other.scores)
        and torch.equal(one.target, other.target)
        and torch.equal(one.sample, other.sample)
        and one.total == other.total
    )


@pytest.mark.parametrize(("task", "each"), FORMS)
def test_all_rows_that_count_are_kept_in_the_order_of_the_loader(task, each):
    scores, target, valid = drawn(task, 60, each=each)
    found = table(task, 60, 7, each=each)
    real = valid.any(1) if task == "labels" else valid
    assert torch.equal(found.scores, scores.transpose(0, 1)[real])
    assert torch.equal(found.target, target.masked_fill(~valid, -1)[real])
    assert torch.equal(found.sample, torch.arange(60).repeat_interleave(each)[real])
    assert found.total == int(real.sum())


@pytest.mark.parametrize("room", [1 << 24, 40])
@pytest.mark.parametrize(("task", "each"), FORMS)
def test_rows_that_are_kept_do_not_depend_on_batches_and_ranks(task, each, room, monkeypatch):
    monkeypatch.setattr(kept_scores, "FEWEST", 1)
    monkeypatch.setattr(kept_scores, "MEMORY", room * 4 * CLASSES)
    whole = table(task, 150, 150, each=each)
    assert len(whole.target) == min(room, whole.total)
    for size, world in ((1, 1), (7, 1), (33, 1), (7, 2), (50, 3)):
        assert same(whole, table(task, 150, size, each=each, world=world)), (size, world)
    for member in range(MEMBERS):
        alone = table(task, 150, 11, each=each, members=slice(member, member + 1))
        assert whole.same_rows(alone)
        assert torch.equal(whole.scores[:, member], alone.scores[:, 0])


def test_an_empty_batch_changes_nothing():
    for task, each in FORMS:
        assert same(table(task, 20, 7, each=each), table(task, 20, 7, each=each, extra=[empty(task, each)]))


@pytest.mark.parametrize("room", range(1000, 1008))
def test_of_large_images_the_same_pixels_are_kept_in_any_batches(room, monkeypatch):
    monkeypatch.setattr(kept_scores, "FEWEST", 1)
    monkeypatch.setattr(kept_scores, "MEMORY", room * 4 * CLASSES)
    each, images = 300 * 300, 4
    whole = table("pixels", images, images, each=each)
    assert len(whole.target) == room
    assert same(whole, table("pixels", images, 1, each=each))
    assert same(whole, table("pixels", images, 2, each=each, world=2))
    share = torch.bincount(whole.sample, minlength=images)
    assert int(share.min()) > 0.8 * room / images


def test_members_that_say_nothing_of_some_rows_keep_the_same_rows():
    parts = list(batches("classes", 30, 30))
    broken = [replace(one, scores=one.scores.clone()) for one in parts[0]]
    broken[1].scores[3:9] = torch.nan
    metric, other = (RowScores(1, CLASSES, labels=False) for _ in range(2))
    metric.update(broken[0])
    other.update(broken[1])
    assert metric.kept().same_rows(other.kept())
