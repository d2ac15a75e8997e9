"""Positions of a batch's rows in the dataset are proven before they are believed."""

import gc
import itertools
import random
import time
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import (
    BatchSampler,
    ConcatDataset,
    DataLoader,
    Dataset,
    DistributedSampler,
    IterableDataset,
    SequentialSampler,
    Subset,
    TensorDataset,
    default_collate,
)

from lightning_posttrain import (
    ClassificationMetrics,
    HardExampleMining,
    HardExamples,
    HardExampleSampler,
    LabelErrors,
    SaliencyMaps,
)
from lightning_posttrain.core.capture import positions as proof
from lightning_posttrain.core.capture.dataset_copy import dataset_copy
from lightning_posttrain.core.capture.loaders import RowCounter
from lightning_posttrain.core.capture.own_order import rearranged
from lightning_posttrain.core.capture.rows_alike import asked_share, columns, rows_like, share_alike
from tests import toys

MODULE = toys.Net()
TRAINER = SimpleNamespace(lightning_module=MODULE, datamodule=None)


def told(loader, *, trainer=TRAINER, epochs=1, read=lambda batch: batch, transfer=lambda batch: batch):
    """Positions that are told of each row over some epochs of a run, and what is said."""
    said = []
    positions = proof.Positions(lambda text, key: said.append(text) if text not in said else None)
    index = []
    for _ in range(epochs):
        counter = RowCounter(loader)
        for batch in loader:
            came = read(transfer(batch))
            count = next(len(column) for path, column in columns(came).items() if column.ndim == 1)
            rows = counter.take(count, torch.device("cpu"))
            rows = positions.proven(trainer, loader, rows, came, read, key="val")
            index += [None] * count if rows.index is None else rows.index.tolist()
    return index, said


def true_of(loader):
    """Positions by the last column, in which each sample has its own."""
    return [position for batch in loader for position in list(batch)[-1].tolist()]


class Numbered(Dataset):
    """Pictures, classes, and, where it is said, their own positions."""

    def __init__(self, rows=37, classes=2, shown=True):
        self.pictures, self.labels = toys.images(rows, classes).tensors
        self.shown, self.asked = shown, 0

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, i):
        self.asked += 1
        return self.pictures[i], int(self.labels[i]), *([i] if self.shown else [])


class Random(Numbered):
    """Pictures with noise of their own each time."""

    def __getitem__(self, i):
        picture, *others = super().__getitem__(i)
        return picture + torch.rand(()) + np.random.rand() + random.random(), *others


def in_order(batch):
    return default_collate(batch)


def brightest_first(batch):
    return default_collate(sorted(batch, key=lambda sample: -float(sample[0].mean())))


class Backwards(SequentialSampler):
    def __iter__(self):
        return iter(range(len(self.data_source) - 1, -1, -1))


class Counts(SequentialSampler):
    drawn = 0

    def __iter__(self):
        self.drawn += 1
        return super().__iter__()


# in a run


class Sequences(Dataset):
    """Tokens of several lengths, the first of which tells the class; labels at ``FLIPPED`` are wrong."""

    FLIPPED = (7, 18, 29, 41)

    def __init__(self, rows=48):
        generator = torch.Generator().manual_seed(0)
        lengths = torch.randint(3, 12, (rows,), generator=generator).tolist()
        self.tokens = [torch.randint(1, 60, (length,), generator=generator) for length in lengths]

    def __len__(self):
        return len(self.tokens)

    def __getitem__(self, i):
        return self.tokens[i], int(self.tokens[i][0] + (i in self.FLIPPED)) % 2


def padded(batch):
    return pad_sequence([tokens for tokens, _ in batch], batch_first=True), torch.tensor([label for _, label in batch])


def longest_first(batch):
    return padded(sorted(batch, key=lambda sample: -len(sample[0])))


class First(toys.Net):
    """Sure of the class that the first token tells."""

    def step(self, batch, stage):
        return {"logits": 6 * F.one_hot(batch[0][:, 0] % 2, 2).float()}


def followed(loader, module=None):
    hard, errors = HardExamples(on_error="raise"), LabelErrors(on_error="raise")
    toys.quiet([hard, errors]).validate(module or First(), loader, verbose=False)
    worst = {example.index for example in hard.results["val"].groups[0].examples[:4]}
    return worst, errors.results.get("val")


def test_batches_that_are_sorted_by_length_name_no_samples_rather_than_others():
    with pytest.warns(UserWarning, match="positions of val in the dataset are not known: row .* longest_first"):
        worst, errors = followed(DataLoader(Sequences(), batch_size=16, collate_fn=longest_first))
    assert worst == {None}
    assert errors is None


def test_batches_that_are_padded_in_order_name_the_labels_that_were_flipped():
    worst, errors = followed(DataLoader(Sequences(), batch_size=16, collate_fn=padded))
    assert worst == set(Sequences.FLIPPED)
    assert tuple(errors.index[errors.suspects].sort().values.tolist()) == Sequences.FLIPPED


def test_a_sampler_that_derives_from_the_sequential_one_and_iterates_in_reverse_names_no_samples():
    data = Sequences()
    with pytest.warns(UserWarning, match="positions of val in the dataset are not known: .*the sampler Backwards"):
        worst, errors = followed(DataLoader(data, batch_size=16, sampler=Backwards(data), collate_fn=padded))
    assert worst == {None}
    assert errors is None


def test_a_hook_that_sorts_is_found_out():
    class Sorts(First):
        def on_after_batch_transfer(self, batch, dataloader_idx):
            order = (batch[0] > 0).sum(1).argsort(descending=True, stable=True)
            return [part[order] for part in batch]

    tokens, labels = padded([Sequences()[i] for i in range(48)])
    with pytest.warns(UserWarning, match="which a hook such as on_after_batch_transfer may have moved"):
        worst, errors = followed(DataLoader(TensorDataset(tokens, labels), batch_size=16), Sorts())
    assert worst == {None}
    assert errors is None


def test_a_hook_that_augments_or_normalises_leaves_positions():
    class Shifts(First):
        def on_after_batch_transfer(self, batch, dataloader_idx):
            return [batch[0] + 60, batch[1]]

    tokens, labels = padded([Sequences()[i] for i in range(48)])
    worst, errors = followed(DataLoader(TensorDataset(tokens, labels), batch_size=16), Shifts())
    assert worst == set(Sequences.FLIPPED)
    assert errors is not None


def test_it_is_said_once_in_a_run_and_not_where_nobody_names_samples():
    loader = DataLoader(Numbered(classes=4, shown=False), batch_size=8, collate_fn=brightest_first)
    data = [ClassificationMetrics(on_error="raise")]
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        toys.quiet(data).validate(toys.Net(), loader, verbose=False)
    assert loader.dataset.asked == len(loader.dataset)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        toys.quiet([*data, HardExamples(on_error="raise")], max_epochs=2).fit(toys.Net(), loader, loader)
    assert len([one for one in caught if "positions of val in the dataset" in str(one.message)]) == 1


@pytest.mark.parametrize("sort", [False, True])
def test_samples_without_classes_have_positions_if_these_are_true(sort):
    data = toys.images(24)
    collate = brightest_first if sort else in_order
    saliency = SaliencyMaps(methods=["saliency"], samples=3, explain=lambda output, _: output[:, 0], on_error="raise")
    trainer = toys.quiet(saliency)
    loader = DataLoader(data, batch_size=8, collate_fn=collate)
    if sort:
        with pytest.warns(UserWarning, match="positions of val in the dataset are not known"):
            trainer.validate(toys.Net(), loader, verbose=False)
    else:
        trainer.validate(toys.Net(), loader, verbose=False)
    assert [sample.index for sample in saliency.results["val"].samples] == ([None] * 3 if sort else [0, 1, 2])


def test_losses_are_not_mined_at_positions_of_others():
    data = toys.images(40)
    sampler = HardExampleSampler(data, floor=0.3)
    loader = DataLoader(data, batch_size=8, sampler=sampler, collate_fn=brightest_first)
    with pytest.warns(UserWarning, match="positions of train in the dataset are not known.*losses are mined, without"):
        toys.quiet(HardExampleMining(on_error="raise")).fit(toys.Net(), loader, loader)
    assert bool(sampler.losses.isnan().all())


def test_training_comes_out_bit_for_bit_as_without():
    def trained(callbacks):
        torch.manual_seed(1)
        np.random.seed(1)
        random.seed(1)
        net = toys.Net()
        loaders = [DataLoader(Random(classes=4, shown=False), batch_size=8, collate_fn=in_order) for _ in range(2)]
        toys.quiet(callbacks, max_epochs=2).fit(net, *loaders)
        drawn = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
        return [value.clone() for value in net.state_dict().values()], drawn

    plain, before = trained([])
    watched, after = trained([HardExamples(on_error="raise", stages=["train", "val"])])
    assert all(map(torch.equal, plain, watched))
    assert torch.equal(before[0], after[0])
    assert before[1:] == after[1:]


# by loader


@pytest.mark.parametrize("collate", [None, in_order])
@pytest.mark.parametrize("data", [Numbered(), Random(), Subset(Numbered(60), range(3, 40)), list(Numbered())])
def test_positions_of_loaders_that_keep_the_order_are_told(data, collate):
    index, said = told(DataLoader(data, batch_size=8, collate_fn=collate))
    assert index == list(range(37))
    assert said == []


def test_nothing_is_asked_of_the_dataset_where_all_is_torchs():
    data = Numbered()
    loader = DataLoader(data, batch_size=8, sampler=SequentialSampler(data))
    assert told(loader)[0] == list(range(37))
    assert data.asked == 37
    broken = SimpleNamespace(lightning_module=MODULE, datamodule=SimpleNamespace(on_after_batch_transfer=in_order))
    assert told(loader, trainer=broken)[0] == list(range(37))
    assert rearranged(broken.datamodule)
    assert not rearranged(MODULE, None)


@pytest.mark.parametrize("kind", [Numbered, Random])
@pytest.mark.parametrize("size", [2, 3, 8, 37])
@pytest.mark.parametrize("read", [lambda batch: batch[:2], lambda batch: batch[1]])
def test_positions_of_batches_that_are_sorted_are_never_others(size, kind, read):
    true = []

    def noted(batch):
        true.extend(batch[2].tolist())
        return batch

    index, said = told(DataLoader(kind(), size, collate_fn=brightest_first), epochs=3, transfer=noted, read=read)
    assert true != list(range(37)) * 3
    assert index == [None] * 111
    assert len(said) == 1


def test_a_batch_of_one_row_has_one_order():
    data = Numbered()
    assert told(DataLoader(data, batch_size=1, collate_fn=in_order))[0] == list(range(37))
    assert data.asked == 37


@pytest.mark.parametrize("collate", [None, in_order])
def test_a_sampler_with_an_order_of_its_own_is_proven_or_not_told(collate):
    data = Numbered()
    loader = DataLoader(data, batch_size=8, sampler=Backwards(data), collate_fn=collate)
    index, said = told(loader)
    assert index == [None] * 37
    assert "is not dataset[" in said[0]
    assert "the sampler Backwards" in said[0]
    index, said = told(loader, read=lambda batch: batch[2])
    assert index == [None] * 37
    assert "too little of dataset[i] is found again" in said[0]
    assert "need no proof" in said[0]
    index, said = told(DataLoader(data, batch_size=8, sampler=Counts(data), collate_fn=collate))
    assert (index, said) == (list(range(37)), [])


def test_a_loader_with_an_order_of_its_own_is_proven_or_not_told():
    class Plain(DataLoader):
        def __iter__(self):
            yield from super().__iter__()

    class Turned(DataLoader):
        def __iter__(self):
            return ([part.flip(0) for part in batch] for batch in super().__iter__())

    assert told(Plain(Numbered(), batch_size=8))[0] == list(range(37))
    index, said = told(Turned(Numbered(), batch_size=8))
    assert index == [None] * 37
    assert "row 0 of a batch is not dataset[0]" in said[0]


def test_an_order_that_shows_late_ends_what_is_told():
    class Late(DataLoader):
        def __iter__(self):
            for number, batch in enumerate(super().__iter__()):
                yield [part.flip(0) if number >= 3 else part for part in batch]

    index, said = told(Late(Numbered(64), batch_size=8), epochs=2)
    assert index == [*range(24), *[None] * 104]
    assert len(said) == 1


def test_labels_of_one_class_alone_prove_no_sampler():
    class Same(Random):
        def __getitem__(self, i):
            return super().__getitem__(i)[0], 1

    data = Same()
    index, said = told(DataLoader(data, batch_size=8, sampler=Counts(data)))
    assert index == [None] * 37
    assert "too little of dataset[i]" in said[0]
    # what collate_fn does shows with the same pictures
    assert told(DataLoader(data, batch_size=8, collate_fn=in_order)) == (list(range(37)), [])
    _, (text,) = told(DataLoader(data, batch_size=8, collate_fn=brightest_first))
    assert "a sample comes out of the collate_fn brightest_first in another row" in text
    assert told(DataLoader(data, batch_size=8)) == (list(range(37)), [])


def test_batches_whose_rows_are_all_alike_prove_no_order():
    class Grows(Dataset):
        """The first have the same length, as texts that were cut."""

        def __len__(self):
            return 64

        def __getitem__(self, i):
            return torch.full((8 if i < 40 else 60 - i // 2,), i), 1

    for collate in (padded, longest_first):
        index, _ = told(DataLoader(Grows(), batch_size=8, collate_fn=collate))
        assert index == ([None] * 64 if collate is longest_first else list(range(64)))


def test_labels_alone_prove_it_where_they_are_of_several_classes():
    index, said = told(DataLoader(Random(shown=False), batch_size=16, collate_fn=in_order))
    assert (index, said) == (list(range(37)), [])
    sorted_, said = told(DataLoader(Random(shown=False), batch_size=16, collate_fn=brightest_first))
    assert sorted_ == [None] * 37
    assert "not dataset[" in said[0]


def test_what_is_drawn_anew_contradicts_nothing_and_what_is_not_does():
    came = {"label": torch.tensor([0, 1, 0, 1]), "input": torch.tensor([5, 6, 7, 8])}
    free = torch.ones(4, dtype=torch.bool)
    draws = iter([6, 8])
    drawn = asked_share(came, lambda: {"label": torch.tensor([0]), "input": torch.tensor([next(draws)])}, 0, free)
    assert drawn == 0.5
    assert asked_share(came, lambda: {"label": torch.tensor([0]), "input": torch.tensor([6])}, 0, free) is None
    draws = iter([9, 8])
    wrong = asked_share(came, lambda: {"label": torch.tensor([1]), "input": torch.tensor([next(draws)])}, 0, free)
    assert wrong is None


@pytest.mark.parametrize("rows", [2, 3, 4, 5])
def test_the_chance_is_the_share_of_orders_that_agree_as_well(rows):
    for labels in itertools.product(range(3), repeat=rows):
        column, free, chance = torch.tensor(labels), torch.ones(rows, dtype=torch.bool), 1.0
        for row in range(rows):
            share = share_alike({"": column}, {"": column[row : row + 1]}, row, free)
            free[row] = share == 1
            chance *= share
        orders = list(itertools.permutations(labels))
        assert chance == pytest.approx(sum(order == labels for order in orders) / len(orders))


@pytest.mark.parametrize("collate", [None, in_order])
def test_a_dataset_that_raises_when_asked_again_costs_nothing(collate):
    class Once(Numbered):
        def __init__(self):
            super().__init__()
            self.given = set()

        def __getitem__(self, i):
            if i in self.given:
                raise KeyError(f"{i} is gone")
            self.given.add(i)
            return super().__getitem__(i)

    index, said = told(DataLoader(Once(), batch_size=8, collate_fn=collate))
    if collate is None:
        assert (index, said) == (list(range(37)), [])
    else:
        assert index == [None] * 37
        assert "could not be compared (KeyError: '0 is gone')" in said[0]
    hooked = SimpleNamespace(lightning_module=SimpleNamespace(on_after_batch_transfer=in_order))
    assert told(DataLoader(Once(), batch_size=8), trainer=hooked) == (list(range(37)), [])


def test_the_time_that_is_asked_for_is_bounded(monkeypatch):
    class Slow(Numbered):
        wait = 0.0

        def __getitem__(self, i):
            time.sleep(self.wait)
            return super().__getitem__(i)

    data = Slow(rows=24)
    loader = DataLoader(data, batch_size=24, collate_fn=in_order)
    batch = next(iter(loader))
    data.wait, data.asked, said = 0.2, 0, []
    positions = proof.Positions(lambda text, key: said.append(text))
    began = time.perf_counter()
    for _ in range(4):
        rows = RowCounter(loader).take(24, torch.device("cpu"))
        rows = positions.proven(TRAINER, loader, rows, batch, lambda batch: batch, key="val")
    assert time.perf_counter() - began < 1.2
    # what was compared within the time is believed
    assert rows.index.tolist() == list(range(24))
    said.clear()
    blind = proof.Positions(lambda text, key: said.append(text))
    for _ in range(3):
        rows = RowCounter(loader).take(24, torch.device("cpu"))
        rows = blind.proven(
            TRAINER, loader, rows, {"label": batch[1]}, lambda batch: {"label": batch[1] * 0 + 7}, key="v"
        )
    assert rows.index is None
    assert "takes long" in said[-1]


def test_no_more_items_are_asked_for_than_a_stated_number():
    asked = []

    class Noted(Numbered):
        def __getitem__(self, i):
            asked.append(i)
            return super().__getitem__(i)

    loader = DataLoader(Noted(300), batch_size=8, collate_fn=in_order)
    told(loader, epochs=2)
    assert len(asked) - 600 <= proof.ITEMS
    assert len(asked) - 600 >= 3 * proof.EACH


@pytest.mark.parametrize("read", [lambda batch: batch, lambda batch: batch[7]])
def test_random_numbers_are_as_they_were(read):
    loader = DataLoader(Random(), batch_size=8, collate_fn=in_order)
    batch = next(iter(loader))
    before = torch.get_rng_state(), np.random.get_state(), random.getstate()
    trial = proof.Trial("", "", hooks=True)
    trial.attempt(loader, torch.arange(8), batch, read)
    assert trial.items == proof.ITEMS - (1 if trial.failed else 8)
    after = torch.get_rng_state(), np.random.get_state(), random.getstate()
    assert torch.equal(before[0], after[0])
    assert all(map(np.array_equal, before[1], after[1]))
    assert before[2] == after[2]


def test_samples_that_are_dicts_of_lists_are_read_as_the_loader_makes_them():
    data = [{"ids": list(range(i, i + 3 + i % 4)), "label": i % 3} for i in range(20)]

    def collated(batch, key=None):
        batch = sorted(batch, key=key) if key else batch
        return {
            "ids": pad_sequence([torch.tensor(one["ids"]) for one in batch], batch_first=True),
            "label": torch.tensor([one["label"] for one in batch]),
        }

    def shortest_first(batch):
        return collated(batch, lambda one: len(one["ids"]))

    assert told(DataLoader(data, batch_size=8, collate_fn=collated)) == (list(range(20)), [])
    assert told(DataLoader(data, batch_size=8, collate_fn=shortest_first))[0] == [None] * 20


def test_sequences_with_time_first_and_padding_before_them_are_found():
    data = Sequences()

    def time_first(batch):
        tokens, labels = padded(batch)
        return tokens.T, labels

    def before(batch):
        return pad_sequence([one for one, _ in batch], batch_first=True, padding_side="left"), padded(batch)[1]

    for collate in (time_first, before):
        index, said = told(DataLoader(data, batch_size=16, collate_fn=collate), read=lambda batch: (batch[0], batch[1]))
        assert (index, said) == (list(range(48)), [])


def test_several_items_are_asked_for_as_the_loader_asks():
    class Table(Numbered):
        def __getitems__(self, index):
            return [super(Table, self).__getitem__(i) for i in index]

        def __getitem__(self, i):
            raise NotImplementedError

    assert told(DataLoader(Table(), batch_size=8, collate_fn=in_order)) == (list(range(37)), [])


def test_a_dataset_that_is_iterated_has_no_positions():
    class Stream(IterableDataset):
        def __iter__(self):
            return iter(Numbered())

    assert told(DataLoader(Stream(), batch_size=8, collate_fn=in_order)) == ([None] * 37, [])


@pytest.mark.parametrize("sort", [False, True])
def test_each_rank_proves_for_itself_and_asks_for_no_repeat(sort):
    data = Numbered(9)
    for rank in range(2):
        sampler = DistributedSampler(data, 2, rank, shuffle=False)
        loader = DataLoader(data, batch_size=5, sampler=sampler, collate_fn=brightest_first if sort else in_order)
        index, _ = told(loader)
        assert index == ([None] * 5 if sort else [rank, rank + 2, rank + 4, rank + 6, rank + 8])


def test_a_sampler_of_batches_is_looked_into():
    data = Numbered()
    batches = BatchSampler(SequentialSampler(data), 8, drop_last=False)
    assert told(DataLoader(data, batch_sampler=batches, collate_fn=in_order)) == (list(range(37)), [])
    backwards = BatchSampler(Backwards(data), 8, drop_last=False)
    assert told(DataLoader(data, batch_sampler=backwards))[0] == [None] * 37


def test_a_loader_that_is_gone_is_forgotten():
    positions = proof.Positions(print)
    loader = DataLoader(Numbered(), batch_size=8)
    rows = RowCounter(loader).take(8, torch.device("cpu"))
    positions.proven(TRAINER, loader, rows, None, lambda batch: batch, key="val")
    assert len(positions._trials) == 1
    del loader, rows
    gc.collect()
    assert len(positions._trials) == 0


# the copy that is asked


class File:
    closed = False

    def close(self):
        self.closed = True


class Lazy(Numbered):
    """Opens when it is first asked, and closes when it goes away."""

    file = None

    def __getitem__(self, i):
        self.file = self.file or File()
        assert not self.file.closed
        return super().__getitem__(i)

    def __del__(self):
        if self.file is not None:
            self.file.close()


@pytest.mark.parametrize(
    "around", [lambda data: data, lambda data: Subset(data, range(20)), lambda d: ConcatDataset([d])]
)
def test_what_an_item_changes_in_a_dataset_is_the_copys(around):
    data = Lazy()
    copy = dataset_copy(around(data))
    assert copy[3][-1] == 3
    assert (data.asked, data.file) == (0, None)
    data[0]
    opened = data.file
    copy = dataset_copy(around(data))
    copy[1]
    del copy
    gc.collect()
    assert not opened.closed
    assert data.asked == 1


def test_generators_of_a_dataset_are_copied():
    class Draws(Numbered):
        def __init__(self):
            super().__init__()
            self.generators = None
            self.torch, self.numpy, self.python = torch.Generator(), np.random.default_rng(0), random.Random(0)

        def __getitem__(self, i):
            return float(torch.rand((), generator=self.torch)), self.numpy.random(), self.python.random()

    data = Draws()
    assert dataset_copy(data)[0] == dataset_copy(data)[0] == data[0] != data[0]


def test_a_dataset_that_holds_itself_is_copied_once():
    data = Numbered()
    data.parent = data
    copy = dataset_copy(data)
    assert copy.parent is copy
    assert copy.pictures is data.pictures
    assert dataset_copy([1, 2]) == [1, 2]


# the comparison


def test_rows_are_compared_by_value_whatever_the_type_and_with_nan():
    pictures = torch.rand(6, 3, 40, 40)
    pictures[2, 0, 0, 0] = torch.nan
    for column in (pictures, pictures.half(), pictures > 0.5):
        for row in range(6):
            assert rows_like(
                column, pictures[row : row + 1] if column.dtype != torch.bool else column[row : row + 1], 6
            )[row]
            found = rows_like(column, column[row : row + 1], 6)
            assert found.tolist() == [other == row for other in range(6)]


@pytest.mark.parametrize(
    ("column", "one"),
    [
        (torch.zeros(4, 3), torch.zeros(1, 4)),
        (torch.zeros(4, 3), torch.zeros(1, 3, 1)),
        (torch.zeros(5, 3), torch.zeros(1, 3)),
        (torch.zeros(4, 3), torch.zeros(2, 3)),
        (torch.zeros(4, 0), torch.zeros(1, 0)),
    ],
)
def test_shapes_that_do_not_go_together_say_nothing(column, one):
    assert rows_like(column, one, 4) is None
    assert share_alike({"": column}, {"": one}, 0, torch.ones(4, dtype=torch.bool)) == 1.0
