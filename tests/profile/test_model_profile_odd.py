"""What a profile makes of batches, steps and Trainers that are not as most are."""

import math
from typing import NamedTuple

import pytest
import torch
from lightning.pytorch import LightningModule
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy

from lightning_posttrain import ModelProfile
from lightning_posttrain.core.capture.batch_parts import parts_of, replaced
from lightning_posttrain.profile.rows import axes_in, rows_in
from tests import toys
from tests.profile.test_model_profile import CNN_FLOPS, QUICK


def profiled(module, *, loader=None, train=None, name=None, **options):
    profile = ModelProfile(**QUICK, name=name, on_error="raise")
    trainer = toys.quiet([profile], num_sanity_val_steps=0, **options)
    trainer.fit(module, toys.loader() if train is None else train, toys.loader() if loader is None else loader)
    return profile.results["fit"], trainer


def test_two_profiles_share_the_clock_and_leave_the_profiler_as_it_was():
    profiles = [ModelProfile(**QUICK, name=name, on_error="raise") for name in "ab"]
    trainer = toys.quiet(profiles)
    before = set(vars(trainer.profiler))
    for _ in range(2):
        trainer.fit_loop.max_epochs += 1
        trainer.fit(toys.Net(), toys.loader(), toys.loader())
        assert not set(vars(trainer.profiler)) & {"profile", "start", "stop"}
    assert set(vars(trainer.profiler)) >= before
    first, second = (profile.results["fit"] for profile in profiles)
    assert second.shares["ModelProfile (a)"] < 0.5, "what the first measures is apart from the run in both"
    assert "shared reading of batches" in first.shares
    assert "shared reading of batches" in second.shares


def test_a_batch_without_rows_tells_nothing_and_the_next_is_heard():
    class Starts:
        def __init__(self, value):
            self.value, self.calls = value, 0

        def __call__(self, samples):
            self.calls += 1
            whole = torch.utils.data.default_collate(samples)
            return whole if self.calls > 1 else self.value(whole)

    class Net(toys.Net):
        def step(self, batch, stage):
            return None if batch is None else super().step(batch, stage)

    for value in (lambda batch: None, lambda batch: [part[:0] for part in batch]):
        found, _ = profiled(Net(), loader=toys.loader(collate_fn=Starts(value)))
        assert found.flops == CNN_FLOPS
        assert set(found.latency) == {1, 4}
        assert found.reasons == {}


def test_a_first_step_that_does_more_than_others_is_not_taken():
    class Draws(toys.Net):
        def validation_step(self, batch, batch_idx):
            if batch_idx == 0:
                self(batch[0])  # to draw something
            return super().validation_step(batch, batch_idx)

    assert profiled(Draws())[0].flops == CNN_FLOPS


def test_losses_and_metrics_are_no_networks():
    class Loss(nn.Module):
        def forward(self, scores, target):
            return F.cross_entropy(scores @ scores.new_ones(toys.CLASSES, toys.CLASSES), target)

    class Net(toys.Net):
        def __init__(self):
            super().__init__()
            self.criterion, self.loss = Loss(), nn.CrossEntropyLoss()
            self.metrics = MetricCollection([MulticlassAccuracy(toys.CLASSES)])

        def step(self, batch, stage):
            scores = self(batch[0])
            self.metrics(scores, batch[1])
            self.criterion(scores, batch[1])

        def forward(self, x):
            scores = self.model(x)
            self.loss(scores, scores.argmax(1))
            return scores

    found, trainer = profiled(Net())
    assert found.flops == CNN_FLOPS
    assert found.layers == 6
    assert int(trainer.lightning_module.metrics["MulticlassAccuracy"].tp.sum()) <= 37, "as the step left it"


class Graphs:
    """Nodes of several graphs with their edges, that can be called, as a batch of PyG."""

    def __init__(self, samples):
        self.stored = {
            "x": torch.cat([x.reshape(-1, 8) for x, _ in samples] * 2),
            "edges": torch.arange(len(samples)).repeat(2, 3),
            "y": torch.stack([y for _, y in samples]),
        }
        self.batch_size = len(samples)

    def keys(self):
        return list(self.stored)

    def __getitem__(self, key):
        return self.stored[key]

    def __setitem__(self, key, value):
        self.stored = {**self.stored, key: value}

    def __call__(self, *keys):
        return keys

    def to(self, *args, **kwargs):
        return self


class Passes(toys.Net):
    """A network over edges, which is given the batch, or its tensors."""

    def __init__(self, *, whole):
        super().__init__()
        self.whole, self.model = whole, nn.Linear(8, 5)

    def forward(self, batch, edges=None):
        x, edges = (batch["x"], batch["edges"]) if self.whole else (batch, edges)
        return self.model(x + torch.zeros_like(x).index_add(0, edges[0], x[edges[1]]))

    def step(self, batch, stage):
        return self(batch).mean() if self.whole else self(batch["x"], batch["edges"]).mean()

    def training_step(self, batch, batch_idx):
        return self.step(batch, "train")


@pytest.mark.parametrize("whole", [True, False])
def test_graphs_are_counted_whole_and_said_by_sample(whole):
    data = DataLoader(toys.images(40), 10, collate_fn=Graphs)
    found, _ = profiled(Passes(whole=whole), train=data, loader=data)
    assert found.architecture.batch == 10
    assert found.flops == 2 * 8 * 2 * 8 * 5, "two copies of the eight lines of an image, of eight numbers to five"
    assert set(found.latency) == {10}
    assert found.time.rows_a_second["training"] == pytest.approx(40 / found.time.training)


class Masked(toys.Net):
    """Attention among the 8 rows of an image, with a mask of as many entries as there are samples."""

    def __init__(self):
        super().__init__()
        self.model = nn.MultiheadAttention(8, 2, batch_first=True)

    def step(self, batch, stage):
        x = batch[0].squeeze(1)
        return self.model(x, x, x, attn_mask=torch.zeros(8, 8))[0].mean()

    def training_step(self, batch, batch_idx):
        return self.step(batch, "train")


def test_calls_that_fail_with_some_of_their_rows_are_made_with_all():
    data = toys.loader(toys.images(40), batch_size=8)
    found, _ = profiled(Masked(), train=data, loader=data)
    assert found.architecture.batch == 8
    assert found.flops == 4 * 2 * 8 * 8 * 8 + 2 * 2 * 8 * 8 * 8
    assert set(found.latency) == {8}


def test_one_batch_size_that_fails_leaves_the_others():
    class Squeezed(toys.Net):
        def forward(self, x):
            return self.model(x).unsqueeze(0).squeeze().softmax(1)

    found, _ = profiled(Squeezed())
    assert set(found.latency) == {4}
    assert "Dimension out of range" in found.reasons["latency, batch 1"]
    assert "Latency, batch 1: not measured, as IndexError" in str(found)


class Pair(NamedTuple):
    x: torch.Tensor
    sizes: torch.Tensor


def test_rows_are_those_that_a_batch_tells_or_its_lists_have():
    assert rows_in(None, 4) == 0
    assert rows_in(Graphs([(torch.zeros(1, 8), torch.tensor(0))] * 3), 4) == 3
    assert rows_in({"image": [torch.zeros(3, 5 + n) for n in range(4)]}, 4) == 4
    assert rows_in([torch.zeros(0, 3)], 4) == 0
    assert axes_in((Pair(torch.zeros(4, 2), torch.zeros(4)),), 4) == {}, "as a packed sequence is"
    assert axes_in((torch.zeros(12, 2), torch.arange(5)), 4) == {}
    assert set(axes_in((torch.zeros(4, 2), torch.arange(4)), 4)) == {(0,), (1,)}
    assert axes_in((torch.zeros(7, 2),), 1) == {}


def test_an_object_with_keys_holds_parts_though_it_can_be_called():
    graphs = Graphs([(torch.zeros(1, 8), torch.tensor(0))])
    assert set(parts_of(graphs)) == {("x",), ("edges",), ("y",)}
    assert replaced(graphs, {("x",): torch.ones(1)})["x"].tolist() == [1]
    assert graphs["x"].shape == (2, 8)


@pytest.mark.parametrize("how", [pytest.param("module", marks=pytest.mark.slow), "part", "in place", "forward"])
def test_a_compiled_module_is_counted_as_it_was_written_and_timed_as_it_runs(how):
    module = toys.Net(call="self(x)")
    if how == "module":
        module = torch.compile(module, backend="eager")
    elif how == "part":
        module.model = torch.compile(module.model, backend="eager")
    elif how == "in place":
        module.model.compile(backend="eager")
    else:
        module.forward = torch.compile(module.forward, backend="eager")
    found, _ = profiled(module)
    assert found.flops == CNN_FLOPS
    assert "compiled" in found.conditions
    assert set(found.latency) == {1, 4}


def test_a_module_that_is_compiled_whole_and_never_validated_says_what_to_do():
    profile = ModelProfile(**QUICK, on_error="raise")
    trainer = toys.quiet([profile], limit_val_batches=0)
    trainer.fit(torch.compile(toys.Net(), backend="eager"), toys.loader(), toys.loader())
    found = profile.results["fit"]
    assert math.isnan(found.flops)
    assert "validate, or compile its network" in found.reasons["a forward"]


class Adversaries(LightningModule):
    """A generator and a discriminator, trained in turn by hand."""

    def __init__(self):
        super().__init__()
        self.automatic_optimization = False
        self.generator, self.discriminator = nn.Linear(4, 64), nn.Linear(64, 1)

    def forward(self, noise):
        return self.generator(noise)

    def training_step(self, batch, batch_idx):
        first, second = self.optimizers()
        noise = torch.randn(len(batch[0]), 4)
        for optimizer, images in ((first, self(noise)), (second, batch[0].flatten(1))):
            optimizer.zero_grad()
            self.manual_backward(self.discriminator(images).mean())
            optimizer.step()

    def validation_step(self, batch, batch_idx):
        self(torch.randn(len(batch[0]), 4))

    def configure_optimizers(self):
        parts = self.generator, self.discriminator
        return [torch.optim.SGD(part.parameters(), 0.01) for part in parts]


def test_of_two_networks_that_train_in_turn_none_is_unused():
    found, _ = profiled(Adversaries())
    assert found.alerts == ()
    assert found.flops == 2 * 4 * 64


def test_a_test_alone_says_nothing_of_targets():
    profile = ModelProfile(**QUICK, target={"val/accuracy": 0.9}, on_error="raise")
    toys.quiet([profile]).test(toys.Net(), toys.loader(), verbose=False)
    found = profile.results["test"]
    assert found.alerts == ()
    assert found.seconds_to == {}
    assert found.time.rows_a_second["test"] > 0
