"""A pass over the data outside of the trainer's epochs reads what validation reads, and leaves no trace."""

import copy
import random

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningDataModule, seed_everything
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import CSVLogger
from torch import nn
from torch.optim.swa_utils import update_bn
from torch.utils.data import DataLoader, RandomSampler
from torchmetrics.classification import MulticlassAccuracy

from lightning_posttrain.core.stream.extra_pass import extra_pass
from lightning_posttrain.ensembles.members.running import Members
from lightning_posttrain.ensembles.members.state import module_member
from lightning_posttrain.ensembles.members.weights import live_tensors, mark
from lightning_posttrain.ensembles.soups import has_statistics, recomputed
from tests import toys
from tests.ensembles.judged import Judging, equal


class Passing(Judging):
    """Makes a pass at the end of the fit, of all that validation has, and keeps what it sees."""

    names_samples = True

    def __init__(self, rows=None, before=None, **options):
        super().__init__(**options)
        self.rows, self.before = rows, before
        self.validated, self.passed, self.again = [], [], []

    def open(self, trainer, module):
        self.own = []

    def finish(self, trainer, module):
        self.validated = self.own
        states = [module_member(module, "live"), module_member(self.before or module, "other", base=module)]
        members = Members(states)

        def see(batch, again):
            self.passed.append(batch)
            self.again.append(members.scores(trainer, module, again, batch))

        extra_pass(trainer, module, self.reading, see, rows=self.rows)


def fit(module, callback, *, folder=None, val=None, train=None, epochs=2, **options):
    seed_everything(4, verbose=False)
    trainer = toys.quiet([callback], max_epochs=epochs, **options)
    trainer.fit(module, train or toys.loader(shuffle=True), val or toys.loader())
    return trainer


@pytest.mark.parametrize("call", toys.CALLS)
def test_it_reads_what_validation_read(call):
    passing = Passing()
    fit(toys.make(call=call), passing)
    assert len(passing.passed) == len(passing.validated) == 4
    for mine, theirs in zip(passing.passed, passing.validated, strict=True):
        assert torch.equal(mine.scores, theirs.scores)
        assert torch.equal(mine.target, theirs.target)
        assert torch.equal(mine.index, theirs.index)


def test_members_run_in_it():
    other, passing = toys.Net(), None
    passing = Passing(before=other)
    module = toys.Net()
    fit(module, passing)
    alone = Judging()
    other.train()
    toys.quiet([alone]).validate(other, toys.loader(), verbose=False)
    assert equal([[each[1].scores] for each in passing.again], [[batch.scores] for batch in alone.own])
    assert equal([[each[0].scores] for each in passing.again], [[batch.scores] for batch in passing.validated])


def test_it_stops_when_there_are_rows_enough():
    passing = Passing(rows=15)
    fit(toys.Net(), passing)
    assert [batch.size for batch in passing.passed] == [10, 10]


def test_it_reads_what_the_limit_leaves():
    passing = Passing()
    fit(toys.Net(), passing, limit_val_batches=2)
    assert len(passing.passed) == 2


class Augmenting(LightningDataModule):
    """Changes batches on the device, in training and in validation in another way."""

    def train_dataloader(self):
        return toys.loader(shuffle=True)

    val_dataloader = test_dataloader = lambda self: toys.loader()

    def on_after_batch_transfer(self, batch, dataloader_idx):
        return [batch[0] + (1.0 if self.trainer.training else 0.5), batch[1]]


def test_batches_are_transferred_as_in_validation():
    passing = Passing()
    seed_everything(4, verbose=False)
    toys.quiet([passing], max_epochs=1).fit(toys.Net(), datamodule=Augmenting())
    assert equal([[batch.scores] for batch in passing.passed], [[batch.scores] for batch in passing.validated])


class Busy(toys.Net):
    """A step that keeps, counts, logs and draws random numbers."""

    def __init__(self):
        super().__init__()
        self.accuracy, self.seen, self.steps = MulticlassAccuracy(toys.CLASSES), [], 0
        self.register_buffer("calls", torch.zeros(1))

    def step(self, batch, stage):
        self.steps += 1
        self.calls += 1
        self.seen.append(float(torch.rand(1)) + random.random() + np.random.rand())
        logits = self(batch[0])
        self.accuracy(logits, batch[1])
        loss = nn.functional.cross_entropy(logits, batch[1])
        self.log_dict({f"{stage}/loss": loss, f"{stage}/accuracy": self.accuracy})
        self.logger.log_metrics({"own": 1.0 * self.steps}, step=self.steps)
        return loss


class Without(Passing):
    def finish(self, trainer, module):
        """No pass."""


class After(Callback):
    """What there is after a fit."""

    def on_train_end(self, trainer, pl_module):
        loader = trainer.val_dataloaders
        self.found = {
            "tensors": {name: tensor.clone() for name, tensor in live_tensors(pl_module).items()},
            "metric": [value.clone() for value in pl_module.accuracy.metric_state.values()],
            "kept": (list(pl_module.seen), pl_module.steps, pl_module._forward_hooks, pl_module.training),
            "modes": [part.training for part in pl_module.modules()],
            "metrics": {name: float(value) for name, value in trainer.callback_metrics.items()},
            "stage": (trainer.state.stage, trainer.state.fn, trainer.global_step),
            "random": (torch.rand(3).tolist(), random.random(), np.random.rand()),
            "loader": (loader.generator.get_state(), loader.sampler.generator.get_state(), sorted(vars(loader))),
            "counted": loader.dataset.asked,
        }


class Counting(torch.utils.data.Dataset):
    def __init__(self):
        self.data, self.asked = toys.images(), 0

    def __len__(self):
        return len(self.data)

    def __getitem__(self, i):
        self.asked += 1
        return self.data[i]


def same(a, b):
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    return len(a) == len(b) and all(map(same, a, b)) if isinstance(a, (list, tuple)) else a == b


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.filterwarnings("ignore:.*does not have many workers:UserWarning")
@pytest.mark.filterwarnings("ignore:.*sampler has shuffling enabled:UserWarning")
def test_it_leaves_no_trace(workers, tmp_path):
    def after(callback):
        seed_everything(6, verbose=False)
        data, after = Counting(), After()
        sampler = RandomSampler(data, generator=torch.Generator().manual_seed(3))
        loader = DataLoader(
            data, batch_size=10, sampler=sampler, generator=torch.Generator().manual_seed(5), num_workers=workers,
            persistent_workers=workers > 0,
        )  # fmt: skip
        folder = tmp_path / type(callback).__name__
        trainer = toys.quiet([callback, after], max_epochs=2, logger=CSVLogger(folder, version=0), log_every_n_steps=1)
        trainer.fit(Busy(), toys.loader(shuffle=True), loader)
        return after.found, (folder / "lightning_logs/version_0/metrics.csv").read_text()

    (found, logged), (wanted, wanted_log) = after(Passing()), after(Without())
    for name, value in wanted.items():
        assert same(found[name], value), name
    assert logged == wanted_log


@pytest.mark.filterwarnings("ignore:You defined a `validation_step` but have no:UserWarning")
def test_no_validation_data_is_said():
    passing = Passing()
    with pytest.raises(ValueError, match="there is no validation data for a further pass: pass a validation loader"):
        toys.quiet([passing], max_epochs=1, limit_val_batches=0).fit(toys.Net(), toys.loader())


# statistics of BatchNorm


class Averaging(Callback):
    def __init__(self, rows=10**6):
        self.rows = rows

    def on_train_end(self, trainer, pl_module):
        self.before = copy.deepcopy(pl_module)
        self.state = module_member(pl_module, "soup")
        self.found = recomputed(self.state, trainer, pl_module, rows=self.rows)
        self.after = copy.deepcopy(pl_module.state_dict())


def without_dropout(module):
    module.model[3].p = 0.0
    return module


@pytest.mark.parametrize("rows", [10**6, 20])
def test_statistics_are_those_of_update_bn(rows):
    averaging = Averaging(rows)
    fit(without_dropout(toys.Net()), averaging, train=toys.loader())
    wanted = copy.deepcopy(averaging.before)
    batches = list(toys.loader())[: 2 if rows == 20 else None]
    wanted.train()
    update_bn(batches, wanted)
    assert averaging.found.kind == "raw"
    assert averaging.found.mark == mark(averaging.found.tensors) != averaging.state.mark
    for name, tensor in wanted.state_dict().items():
        torch.testing.assert_close(averaging.found.tensors[name], tensor, rtol=1e-5, atol=1e-6)


def test_dropout_is_off_and_the_module_stays_as_it_was():
    averaging = Averaging()
    module = toys.Net()
    module.model[3].p = 0.9
    module.model.append(nn.BatchNorm1d(toys.CLASSES))
    fit(module, averaging, train=toys.loader())
    off = without_dropout(copy.deepcopy(averaging.before)).train()
    update_bn(list(toys.loader()), off)
    for name, tensor in off.state_dict().items():
        torch.testing.assert_close(averaging.found.tensors[name], tensor, rtol=1e-5, atol=1e-6)
    assert all(torch.equal(averaging.after[name], tensor) for name, tensor in averaging.before.state_dict().items())
    assert all(part.momentum == 0.1 for part in module.modules() if isinstance(part, nn.BatchNorm1d))
    assert all(torch.equal(averaging.state.tensors[n], t) for n, t in averaging.before.state_dict().items())


def test_only_what_keeps_statistics_has_them():
    assert has_statistics(toys.Net())
    assert not has_statistics(nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2)))
    assert not has_statistics(nn.BatchNorm1d(2, track_running_stats=False))
