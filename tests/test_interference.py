"""Whatever a forward keeps, and wherever, training with a callback comes out bit for bit as without.

Rows are modules that keep something in some way, columns are the callbacks.
"""

import random
from collections import deque
from dataclasses import dataclass, field
from functools import cache

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics import CatMetric, MeanMetric

from lightning_posttrain import (
    CheckpointEnsemble,
    ConfusionMatrix,
    Explanations,
    GeneralizationGap,
    HardExampleMining,
    HardExampleSampler,
    LabelErrors,
    ModelExport,
    ModelProfile,
    SaliencyMaps,
    Surrogate,
    TorchMetrics,
    posttrain_suite,
)
from tests import test_contract, toys
from tests.state_of import state_of

ROWS, FEATURES, CLASSES = 24, 4, 4


@dataclass
class Counts:
    """A plain object."""

    rows: int = 0
    means: list[float] = field(default_factory=list)


class Slotted:
    __slots__ = ("total",)

    def __init__(self):
        self.total = 0.0


class Counted(nn.Module):
    """Keeps something, moves it on in each call, and gives what is taken from the inputs."""

    def __init__(self):
        super().__init__()
        self.start()

    def start(self):
        raise NotImplementedError

    def forward(self, x):
        return self.move(x.detach().mean(0))

    def move(self, mean):
        raise NotImplementedError


def kind(start, move):
    """A class of modules that keep something, from two functions."""
    return type("Kept", (Counted,), {"start": start, "move": move})


def _start_buffer(module):
    module.register_buffer("mean", torch.zeros(FEATURES))


def _start_metrics(module):
    module.all, module.hidden = CatMetric(), {"mean": MeanMetric()}


def _move_metrics(module, mean):
    module.all(mean)
    module.hidden["mean"].update(mean)
    return 0.01 * module.all._update_count + 0.1 * module.hidden["mean"].compute()


def _append_in_tuple(module, mean):
    module.kept[0].append(float(mean.mean()))
    return sum(module.kept[0][-3:])


def _move_object(module, mean):
    module.counts.rows += 1
    module.counts.means.append(float(mean[0]))
    return 0.01 * module.counts.rows + 0.1 * module.counts.means[-1]


def _move_lazily(module, mean):
    if not hasattr(module, "first"):
        module.first = mean.clone()
    return module.first


def _move_class(module, mean):
    type(module).calls += 1
    type(module).shared.append(float(mean[0]))
    return 0.01 * type(module).calls + 0.1 * len(type(module).shared)


def _start_class(module):
    type(module).calls, type(module).shared = 0, []


def _move_batch_norm(module, mean):
    hidden = module.teachers[0]
    hidden.train()
    return hidden(torch.stack([mean, 2 * mean])).mean(0) + 0.1 * hidden.running_mean


KEPT = {
    "tensor in a dict": kind(
        lambda m: setattr(m, "state", {"mean": torch.zeros(FEATURES)}),
        lambda m, mean: m.state["mean"].mul_(0.9).add_(mean, alpha=0.1),
    ),
    "tensor in a list": kind(
        lambda m: setattr(m, "means", [torch.zeros(FEATURES)]),
        lambda m, mean: m.means[0].mul_(0.9).add_(mean, alpha=0.1),
    ),
    "list in a dict": kind(
        lambda m: setattr(m, "state", {"seen": []}),
        lambda m, mean: m.state["seen"].append(mean) or sum(m.state["seen"][-2:]),
    ),
    "deque": kind(
        lambda m: setattr(m, "last", deque(maxlen=3)),
        lambda m, mean: m.last.append(mean) or sum(m.last),
    ),
    "numpy array": kind(
        lambda m: setattr(m, "array", np.zeros(FEATURES, np.float32)),
        lambda m, mean: torch.from_numpy(np.multiply(m.array + mean.numpy(), 0.5, out=m.array).copy()),
    ),
    "list in a tuple": kind(lambda m: setattr(m, "kept", ([], "name")), _append_in_tuple),
    "object": kind(lambda m: setattr(m, "counts", Counts()), _move_object),
    "object with slots": kind(
        lambda m: setattr(m, "slotted", Slotted()),
        lambda m, mean: setattr(m.slotted, "total", m.slotted.total + float(mean[0])) or m.slotted.total,
    ),
    "torch.Generator": kind(
        lambda m: setattr(m, "random", torch.Generator().manual_seed(5)),
        lambda m, mean: 0.1 * torch.rand(FEATURES, generator=m.random),
    ),
    "numpy.random.Generator": kind(
        lambda m: setattr(m, "random", np.random.default_rng(5)), lambda m, mean: 0.1 * float(m.random.random())
    ),
    "numpy.random.RandomState": kind(
        lambda m: setattr(m, "random", np.random.RandomState(5)), lambda m, mean: 0.1 * float(m.random.rand())
    ),
    "random.Random": kind(
        lambda m: setattr(m, "random", random.Random(5)), lambda m, mean: 0.1 * m.random.random()
    ),
    "generators of the program": kind(
        lambda m: None, lambda m, mean: 0.1 * (torch.rand(FEATURES) + random.random() + float(np.random.rand()))
    ),
    "number": kind(
        lambda m: setattr(m, "calls", 0), lambda m, mean: setattr(m, "calls", m.calls + 1) or 0.01 * m.calls
    ),
    "list of numbers": kind(
        lambda m: setattr(m, "seen", []), lambda m, mean: m.seen.append(float(mean[0])) or sum(m.seen[-2:])
    ),
    "buffer, replaced": kind(
        _start_buffer, lambda m, mean: setattr(m, "mean", 0.9 * m.mean + 0.1 * mean) or m.mean
    ),
    "buffer, in place": kind(_start_buffer, lambda m, mean: m.mean.mul_(0.9).add_(mean, alpha=0.1)),
    "metrics": kind(_start_metrics, _move_metrics),
    "attribute made in the first call": kind(lambda m: None, _move_lazily),
    "attributes of the class": kind(_start_class, _move_class),
    "module that is not registered": kind(
        lambda m: setattr(m, "teachers", [nn.BatchNorm1d(FEATURES)]), _move_batch_norm
    ),
    "iterator": kind(
        lambda m: setattr(m, "steps", iter(np.linspace(0, 1, 5000).tolist())), lambda m, mean: next(m.steps)
    ),
}  # fmt: skip


class Net(LightningModule):
    """Takes off what ``kept`` gives; or its steps go past a forward that moves it on, and training depends on it."""

    def __init__(self, kept, way):
        super().__init__()
        self.kept, self.past = kept(), way == "goes past forward"
        self.body, self.head = nn.Linear(FEATURES, CLASSES), nn.Linear(CLASSES, CLASSES)
        self.__dict__["losses"] = []

    def forward(self, x):
        moved = self.kept(x)
        return self.parts(x if self.past else x - moved)

    def parts(self, x):
        return self.head(self.body(x).relu())

    def training_step(self, batch, batch_idx):
        x, y = batch
        logits = self.parts(x) if self.past else self(x)
        loss = F.cross_entropy(logits, y)
        if self.past:
            loss = loss * (1 + torch.as_tensor(self.kept(x)).mean())
        self.losses.append(float(loss))
        return {"loss": loss, "logits": logits.detach()}

    def validation_step(self, batch, batch_idx):
        logits = self.parts(batch[0]) if self.past else self(batch[0])  # without a loss that tells of the scores
        self.losses.append(float(logits.sum()))

    test_step = validation_step

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1, momentum=0.9)


def read(outputs, batch):
    return outputs["logits"].mean()


COLUMNS = {
    **{one.__name__: one for one in test_contract.CALLBACKS},
    "Explanations": lambda: Explanations(samples=2, perturbations=16, every_n_epochs=1),
    "Surrogate": lambda: Surrogate(repeats=1, every_n_epochs=1),
    "CheckpointEnsemble": lambda: [CheckpointEnsemble(soups=True), ModelCheckpoint(save_top_k=-1)],
    "GeneralizationGap": GeneralizationGap,
    "HardExampleMining": HardExampleMining,
    "ModelExport": lambda: ModelExport(formats=["pt2"]),
    "ModelProfile": lambda: ModelProfile(batch_sizes=[2], seconds=0.02),
    "LabelErrors": lambda: LabelErrors(stages=["train", "val"]),
    "TorchMetrics": lambda: TorchMetrics(MeanMetric(), update_fn=read, stages=["train"]),
    "posttrain_suite": posttrain_suite,
}


def outcome(row, way, made):
    """All that a fit and a test leave behind."""
    seed_everything(3)
    data = TensorDataset(*features())
    keeps = any(isinstance(one, ModelCheckpoint) for one in (made if isinstance(made, list) else [made]))
    net, trainer = Net(KEPT[row], way), toys.quiet(made, max_epochs=2, enable_checkpointing=keeps)
    sampler = HardExampleSampler(data, floor=1.0, seed=3)  # with a floor of 1 it draws the same whatever it is told
    trainer.fit(net, DataLoader(data, batch_size=8, sampler=sampler), DataLoader(data, batch_size=8))
    optimizer = trainer.optimizers[0].state_dict()
    trainer.test(net, DataLoader(data, batch_size=8), verbose=False)
    return {
        "weights": state_of(dict(net.state_dict())),
        "optimizer": state_of(optimizer["state"]),
        "kept": state_of(dict(vars(net.kept))),
        "class": state_of({name: one for name, one in vars(type(net.kept)).items() if name in ("calls", "shared")}),
        "losses": net.losses,
        "random": [torch.get_rng_state().tolist(), random.getstate(), repr(np.random.get_state())],
    }


def features():
    generator = torch.Generator().manual_seed(0)
    target = torch.arange(ROWS) % CLASSES
    return torch.rand(ROWS, FEATURES, generator=generator) + F.one_hot(target, CLASSES), target


@cache
def without(row, way):
    return outcome(row, way, [])


def test_the_matrix_has_every_public_callback_as_a_column():
    public = {one.__name__ for one in (*test_contract.CALLBACKS, *test_contract.OTHERS)}
    assert set(COLUMNS) == public | {"posttrain_suite"}


DIAGONAL = [
    (row, way, column)
    for way, shift in (("calls forward", 0), ("goes past forward", 5))
    for i, row in enumerate(KEPT)
    for column in [list(COLUMNS)[(i + shift) % len(COLUMNS)]]
]


def same_as_without(row, way, column):
    assert outcome(row, way, COLUMNS[column]()) == without(row, way)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("row", "way", "column"), DIAGONAL)
def test_training_comes_out_as_without_on_a_diagonal_of_the_matrix(row, way, column):
    same_as_without(row, way, column)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("way", ["calls forward", "goes past forward"])
@pytest.mark.parametrize("row", KEPT)
def test_training_comes_out_as_without_in_the_whole_matrix(row, way, column):
    same_as_without(row, way, column)


def numbers():
    number = 0.0
    while True:
        number += 0.01
        yield number


class Moving(Net):
    """Draws from what cannot be copied, and predicts with it in training alone."""

    def __init__(self, way):
        super().__init__(nn.Identity, way)
        self.steps = {"of training": numbers()}

    def forward(self, x):
        step = next(self.steps["of training"])
        return self.parts(x) * (1 + step * self.training)

    def training_step(self, batch, batch_idx):
        return F.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch, batch_idx):
        if not self.past:
            self(batch[0])


def moved(way, *callbacks):
    seed_everything(3)
    net, data = Moving(way), DataLoader(TensorDataset(*features()), batch_size=8)
    toys.quiet(list(callbacks), max_epochs=2).fit(net, data, data)
    return state_of(dict(net.state_dict())), next(net.steps["of training"])


NAMED = r"could not explain .*: `steps\['of training'\]` \(a generator\) cannot be copied, and moves on when it is used"


@pytest.mark.parametrize("make", [SaliencyMaps, COLUMNS["Explanations"]])
def test_what_cannot_be_put_back_is_named_once_and_not_used(make):
    with pytest.warns(UserWarning, match=NAMED) as said:
        assert moved("calls forward", callback := make()) == moved("calls forward")
    assert len([one for one in said if "cannot be copied" in str(one.message)]) == 1
    assert not callback.results


def test_a_forward_fn_that_goes_without_it_is_explained():
    callback = SaliencyMaps(forward_fn=lambda module, inputs: module.parts(inputs), on_error="raise")
    assert moved("calls forward", callback) == moved("calls forward")
    assert set(callback.results) == {"val"}


def test_figures_that_would_move_it_are_refused_and_a_scores_fn_goes_without():
    with pytest.raises(ValueError, match=r"raised CannotBePutBackError: `steps\['of training'\]` \(a generator\)"):
        moved("goes past forward", ConfusionMatrix())
    net = Moving("goes past forward")
    callback = ConfusionMatrix(scores_fn=lambda outputs, batch: net.parts(batch[0]), on_error="raise")
    data = DataLoader(TensorDataset(*features()), batch_size=8)
    toys.quiet(callback).validate(net, data, verbose=False)
    assert int(callback.results["val"].counts.sum()) == ROWS
    assert next(net.steps["of training"]) == 0.01
