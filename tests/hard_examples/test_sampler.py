import itertools
import math
import pickle

import pytest
import torch
import torch.distributed as dist
from hypothesis import given
from hypothesis import strategies as st
from lightning.pytorch import Callback
from torch.utils.data import DataLoader, DistributedSampler

from lightning_posttrain.hard_examples.sampler import HardExampleSampler
from tests import toys


def counts(drawn, size):
    return torch.bincount(torch.tensor(list(drawn)), minlength=size)


def epoch_of(sampler, epoch):
    sampler.set_epoch(epoch)
    return list(sampler)


def as_rank(monkeypatch, rank, world):
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "get_rank", lambda: rank)
    monkeypatch.setattr(dist, "get_world_size", lambda: world)


def by_the_formula(losses, floor):
    """Probabilities one by one, from what the docstring says."""
    finite = [loss for loss in losses if math.isfinite(loss)]
    known = [loss if math.isfinite(loss) else max(finite) for loss in losses if not math.isnan(loss)]
    each = [sum(known) / len(known) if math.isnan(loss) else min(loss, max(finite)) for loss in losses]
    return [floor / len(losses) + (1 - floor) * loss / sum(each) for loss in each]


values = st.one_of(st.floats(0.001, 1e6), st.just(math.nan), st.just(math.inf))


@given(
    st.lists(values, min_size=1, max_size=40).filter(lambda each: any(math.isfinite(loss) for loss in each)),
    st.floats(0.01, 1),
    st.integers(1, 200),
    st.integers(0, 1000),
)
def test_each_position_is_drawn_as_often_as_expected_rounded_down_or_up(losses, floor, draws, seed):
    sampler = HardExampleSampler(len(losses), floor=floor, num_samples=draws, seed=seed)
    sampler.update_losses(torch.tensor(losses, dtype=torch.float64))
    wanted = by_the_formula(losses, floor)
    assert sampler.probabilities().tolist() == pytest.approx(wanted)
    found = counts(sampler, len(losses))
    assert int(found.sum()) == draws
    for times, p in zip(found.tolist(), wanted, strict=True):
        assert math.floor(draws * p - 1e-6) <= times <= math.ceil(draws * p + 1e-6)


def test_the_mean_count_over_seeds_is_the_expected_one():
    losses = torch.tensor([0.0, 0.1, 0.2, 0.7, 1.5, 3.0, math.nan])
    seeds = 4000
    total = torch.zeros(7)
    for seed in range(seeds):
        sampler = HardExampleSampler(7, floor=0.3, num_samples=5, seed=seed)
        sampler.update_losses(losses)
        total += counts(sampler, 7)
    expected = 5 * sampler.probabilities()
    assert torch.allclose((total / seeds).double(), expected, atol=4 * 0.5 / math.sqrt(seeds))


@pytest.mark.parametrize(
    "losses", [None, [math.nan] * 11, [0.0] * 11, [2.5] * 11, [math.inf] * 11, [0.3] * 10 + [math.nan]]
)
def test_with_no_losses_or_equal_ones_an_epoch_is_a_permutation(losses):
    sampler = HardExampleSampler(11, seed=3)
    if losses is not None:
        sampler.update_losses(torch.tensor(losses))
    first, second = epoch_of(sampler, 0), epoch_of(sampler, 1)
    assert sorted(first) == sorted(second) == list(range(11))
    assert first != second


def test_draws_of_one_position_do_not_stand_together():
    sampler = HardExampleSampler(100, floor=0.01)
    sampler.update_losses(torch.tensor([1.0, 1.0] + [0.0] * 98))
    drawn = list(sampler)
    same = sum(a == b for a, b in itertools.pairwise(drawn))
    assert 30 <= same <= 70


def test_draws_follow_from_seed_epoch_and_losses_alone():
    losses = torch.rand(50)

    def drawn(seed, epoch, losses):
        sampler = HardExampleSampler(50, seed=seed)
        sampler.update_losses(losses)
        return epoch_of(sampler, epoch)

    first, before = drawn(1, 2, losses), torch.get_rng_state()
    torch.rand(3)
    assert drawn(1, 2, losses) == first
    others = [drawn(2, 2, losses), drawn(1, 3, losses), drawn(2, 1, losses), drawn(1, 2, losses.flip(0))]
    assert first not in others
    torch.set_rng_state(before)
    drawn(1, 2, losses)
    assert torch.equal(torch.get_rng_state(), before)


def test_an_easy_position_is_still_drawn_as_often_as_the_floor_says():
    sampler = HardExampleSampler(10, floor=0.5, num_samples=1000)
    sampler.update_losses(torch.tensor([0.0] * 9 + [1e300], dtype=torch.float64))
    assert counts(sampler, 10).tolist() == [50] * 9 + [550]


@pytest.mark.parametrize(("size", "world"), [(12, 2), (13, 2), (13, 3), (2, 5)])
def test_ranks_share_one_list_and_read_as_many_rows_each(monkeypatch, size, world):
    losses = torch.rand(size)
    alone = HardExampleSampler(size, seed=4)
    alone.update_losses(losses)
    whole = epoch_of(alone, 1)
    ranks = []
    for rank in range(world):
        sampler = HardExampleSampler(size, seed=4)  # made before there are ranks
        as_rank(monkeypatch, rank, world)
        sampler.update_losses(losses)
        assert len(sampler) == math.ceil(size / world)
        ranks.append(epoch_of(sampler, 1))
        assert sampler.positions == ranks[-1]
        assert (sampler.rank, sampler.num_replicas) == (rank, world)
        monkeypatch.undo()
    assert {len(rows) for rows in ranks} == {math.ceil(size / world)}
    joined = [row for rows in zip(*ranks, strict=True) for row in rows]
    assert joined[:size] == whole
    repeats = joined[size:]
    assert repeats == (whole * world)[: len(repeats)]


def test_positions_are_those_of_the_running_epoch():
    data = torch.arange(20)
    sampler = HardExampleSampler(data)
    assert sampler.positions == []
    loader = DataLoader(data, batch_size=6, sampler=sampler)
    for epoch in range(3):
        sampler.set_epoch(epoch)
        given = torch.cat(list(loader)).tolist()
        assert sampler.positions == given
        sampler.update_losses(torch.rand(20))
        assert sampler.positions == given


def test_a_run_that_is_resumed_draws_what_it_would_have_drawn():
    def trained(sampler, epochs):
        for epoch in epochs:
            yield epoch_of(sampler, epoch)
            sampler.update_losses(torch.rand(30, generator=torch.Generator().manual_seed(epoch)))

    whole = list(trained(HardExampleSampler(30, seed=7), range(6)))
    first = HardExampleSampler(30, seed=7)
    list(trained(first, range(3)))
    state = pickle.loads(pickle.dumps(first.state_dict()))
    second = HardExampleSampler(30)
    second.load_state_dict(state)
    assert list(second) == list(first)
    assert list(trained(second, range(3, 6))) == whole[3:]


class Watch(Callback):
    """What positions each epoch had, and what rows training saw; the loss of a sample is its position."""

    def __init__(self):
        self.positions, self.rows = [], []

    def on_train_epoch_start(self, trainer, pl_module):
        self.rows.append([])

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.rows[-1] += batch[0][:, 0, 0, 0].long().tolist()

    def on_train_epoch_end(self, trainer, pl_module):
        sampler = trainer.train_dataloader.sampler
        self.positions.append(list(sampler.positions))
        sampler.update_losses(torch.arange(len(sampler.positions)).float())


def test_a_trainer_leaves_it_alone_and_tells_it_the_epoch():
    data = toys.images()
    data.tensors[0][:, 0, 0, 0] = torch.arange(37)  # which row it is
    sampler, watch = HardExampleSampler(data, floor=0.3, seed=5), Watch()
    trainer = toys.quiet(watch, max_epochs=3)
    trainer.fit(toys.Net(), toys.loader(data, sampler=sampler), toys.loader())
    assert trainer.train_dataloader.sampler is sampler
    assert watch.positions == watch.rows
    by_hand = HardExampleSampler(37, seed=5)
    for epoch, rows in enumerate(watch.rows):
        assert epoch_of(by_hand, epoch) == rows
        by_hand.update_losses(torch.arange(37.0))
    assert sorted(watch.rows[0]) == list(range(37))
    assert max(counts(watch.rows[1], 37)) > 1


def test_lightning_needs_no_sampler_of_its_own_under_ddp():
    trainer = toys.quiet(strategy="ddp", devices=2)
    connector = trainer._data_connector
    assert connector._requires_distributed_sampler(toys.loader())
    assert not connector._requires_distributed_sampler(toys.loader(sampler=HardExampleSampler(37)))
    assert isinstance(HardExampleSampler(37), DistributedSampler)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"floor": 0.0}, r"`floor` is 0.0, wanted above 0 and at most 1"),
        ({"floor": 1.5}, r"`floor` is 1.5"),
        ({"floor": math.nan}, r"`floor` is nan"),
        ({"dataset": 0}, "`dataset` has no samples"),
        ({"dataset": []}, "`dataset` has no samples"),
        ({"num_samples": 0}, "`num_samples` is 0, wanted at least 1"),
        ({"seed": -1}, "`seed` is -1, wanted 0 or more"),
    ],
)
def test_what_is_out_of_range_is_said(options, words):
    with pytest.raises(ValueError, match=words):
        HardExampleSampler(**{"dataset": 5, **options})


def test_losses_that_do_not_fit_are_said():
    sampler = HardExampleSampler(5)
    with pytest.raises(ValueError, match=r"`losses` has shape \(4,\), wanted \(5,\)"):
        sampler.update_losses(torch.rand(4))
    with pytest.raises(ValueError, match="`losses` holds -2, wanted 0 or more"):
        sampler.update_losses(torch.tensor([1.0, math.nan, -2.0, 0.0, 1.0]))
    with pytest.raises(ValueError, match=r"`losses` has shape \(6,\)"):
        sampler.load_state_dict(HardExampleSampler(6).state_dict())
