"""Batches that a user's step passes over, or that cannot be read, cost no run and no wrong figure."""

import pytest
import torch
from lightning.pytorch import Callback
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from lightning_posttrain import ConfusionMatrix, GeneralizationGap, HardExamples, LabelErrors, posttrain_suite
from tests import toys


class Batches(Dataset):
    """Whole batches, as a loader without a batch size gives them."""

    def __init__(self, *batches):
        self.batches = batches

    def __len__(self):
        return len(self.batches)

    def __getitem__(self, i):
        return self.batches[i]

    def loader(self):
        return DataLoader(self, batch_size=None)


def rows(n, seed=0):
    return tuple(toys.images(n, seed=seed).tensors)


class Skipping(toys.Net):
    """Passes over batches of None, of one row and without targets, in the ways of its users."""

    def training_step(self, batch, batch_idx):
        return None if batch is None else super().training_step(batch, batch_idx)

    def step(self, batch, stage):
        if batch is None or len(batch[0]) < 2:
            return None
        if batch[1] is None:
            self(batch[0])
            return None
        return super().step(batch, stage)


@pytest.mark.filterwarnings("ignore:.*train_dataloader.*yielded None")
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_batch_of_none_is_no_batch(place):
    batches = [rows(16, seed) for seed in range(3)]
    with_none = Batches(*batches[:place], None, *batches[place:]).loader()
    matrix = ConfusionMatrix(stages=["train", "val", "test"], on_error="raise")
    gap = GeneralizationGap(on_error="raise")
    net = Skipping()
    trainer = toys.quiet([matrix, gap])
    trainer.fit(net, with_none, with_none)
    trainer.test(net, with_none, verbose=False)
    assert {key: int(result.counts.sum()) for key, result in matrix.results.items()} == {
        "train": 48, "val": 48, "test": 48,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("odd", "said"),
    [
        (rows(1, seed=5), "the val step returned nothing for a batch and did not run what predicts others"),
        ((rows(7, seed=5)[0], None), "a batch of val has no targets, and its rows are in no figure"),
    ],
    ids=["one row", "no targets"],
)
def test_a_batch_that_the_step_passes_over_is_in_no_figure_and_is_said_once(odd, said):
    first, second = rows(9, seed=1), rows(8, seed=2)
    suite = [*posttrain_suite(), LabelErrors()]
    matrix, net = suite[1], Skipping()
    loader = Batches(first, odd, second, odd).loader()
    with pytest.warns(UserWarning, match=said) as caught:
        toys.quiet(suite, max_epochs=2).fit(net, Batches(first).loader(), loader)
    assert sum(said in str(warning.message) for warning in caught) == 1
    net.eval()
    x, y = (torch.cat(parts) for parts in zip(first, second, strict=True))
    right = int((net(x).argmax(1) == y).sum())
    assert (int(matrix.results["val"].counts.sum()), int(matrix.results["val"].counts.trace())) == (17, right)


def test_positions_behind_a_batch_that_is_passed_over_are_those_of_the_dataset():
    data = toys.images(30)

    class Third(toys.Net):
        def step(self, batch, stage):
            return None if torch.equal(batch[0][0], data[10][0]) else super().step(batch, stage)

    hard, net = HardExamples(k=30), Third()
    with pytest.warns(UserWarning, match="is taken as skipped"):
        toys.quiet(hard).validate(net, toys.loader(data), verbose=False)
    (group,) = [group for group in hard.results["val"].groups if group.name == "highest_loss"]
    net.eval()
    losses = F.cross_entropy(net(data.tensors[0]).detach(), data.tensors[1], reduction="none")
    found = {example.index: example.loss for example in group.examples}
    assert set(found) == {*range(10), *range(20, 30)}
    for index, loss in found.items():
        assert loss == pytest.approx(float(losses[index]), abs=1e-4)


def test_a_batch_that_cannot_be_read_after_training_has_begun_leaves_the_epoch_without_figures():
    net, made = toys.Net(style="dict"), []
    matrix = ConfusionMatrix(scores_fn=lambda outputs, batch: outputs["logits" if net.current_epoch != 1 else "none"])

    class Note(Callback):
        def on_validation_end(self, trainer, pl_module):
            made.append(id(matrix.results.get("val")))

    trainer = toys.quiet([matrix, Note()], max_epochs=3)
    said = r"could not read a batch of val: ValueError: `scores_fn` raised KeyError: 'none'.* The run goes on"
    with pytest.warns(UserWarning, match=said) as caught:
        trainer.fit(net, toys.loader(), toys.loader())
    assert len([one for one in caught if "could not" in str(one.message)]) == 1
    _, first, second, third = made  # after the sanity check
    assert first == second != third
    assert int(matrix.results["val"].counts.sum()) == 37


@pytest.mark.parametrize("argument", ["target_fn", "inputs_fn"])
def test_what_a_users_function_raises_is_said_with_its_argument_before_training(argument):
    net = toys.Net()
    with pytest.raises(ValueError, match=rf"`{argument}` raised KeyError: 'labels'.* here a list of 2"):
        toys.quiet(HardExamples(**{argument: lambda batch: {}["labels"]})).fit(net, toys.loader(), toys.loader())
