import pytest
import torch
from torch.utils.data import BatchSampler, DataLoader, DistributedSampler, SequentialSampler, WeightedRandomSampler

from lightning_posttrain.core.capture.loaders import RowCounter


def rows_of(loader):
    """Positions that the loader gives, and which of them count, over an epoch."""
    counter = RowCounter(loader)
    given, valid, index = [], [], []
    for batch in loader:
        rows = counter.take(len(batch), torch.device("cpu"))
        given += batch.tolist()
        valid += [True] * len(batch) if rows.valid is None else rows.valid.tolist()
        index += [None] * len(batch) if rows.index is None else rows.index.tolist()
    return given, valid, index


@pytest.mark.parametrize("world", [1, 2, 3, 5])
@pytest.mark.parametrize("shuffle", [False, True])
def test_every_row_counts_once_whatever_the_number_of_rows_and_ranks(world, shuffle):
    for count in [*range(1, 24), 101]:
        counted = []
        for rank in range(world):
            data = torch.arange(count)
            sampler = DistributedSampler(data, world, rank, shuffle=shuffle)
            given, valid, index = rows_of(DataLoader(data, batch_size=4, sampler=sampler))
            counted += [row for row, fine in zip(given, valid, strict=True) if fine]
            if not shuffle:
                assert [row for row, fine in zip(index, valid, strict=True) if fine] == [
                    row for row, fine in zip(given, valid, strict=True) if fine
                ]
        assert sorted(counted) == list(range(count))


def test_positions_are_known_for_a_sequential_loader_and_not_for_a_shuffled_one():
    data = torch.arange(10)
    given, _, index = rows_of(DataLoader(data, batch_size=4))
    assert index == given
    assert rows_of(DataLoader(data, batch_size=4, shuffle=True))[2] == [None] * 10
    assert rows_of(DataLoader(data, sampler=WeightedRandomSampler([1.0] * 10, 6), batch_size=4))[2] == [None] * 6


def test_a_batch_sampler_is_looked_into():
    data = torch.arange(10)
    loader = DataLoader(data, batch_sampler=BatchSampler(SequentialSampler(data), 3, drop_last=False))
    assert rows_of(loader)[2] == list(range(10))


def test_lightnings_wrapper_of_another_sampler_is_masked():
    from lightning.fabric.utilities.distributed import DistributedSamplerWrapper

    data = torch.arange(9)
    counted = []
    for rank in range(2):
        sampler = DistributedSamplerWrapper(SequentialSampler(data), num_replicas=2, rank=rank, shuffle=False)
        given, valid, index = rows_of(DataLoader(data, sampler=sampler, batch_size=2))
        counted += [row for row, fine in zip(given, valid, strict=True) if fine]
        assert index == [None] * len(given)
    assert sorted(counted) == list(range(9))


def test_a_sampler_with_an_order_of_its_own_is_not_masked():
    class Halves(DistributedSampler):
        def __iter__(self):
            return iter(range(self.rank * 5, self.rank * 5 + 5))

    data = torch.arange(9)
    assert rows_of(DataLoader(data, sampler=Halves(data, 2, 0), batch_size=2))[1] == [True] * 5
