"""One class a row: networks that are called more than once, or run in a way of their own."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from tests.modules.shapes import BATCH, CLASSES, FEATURES, Module, generator, load, shape, table
from tests.modules.shapes_heads import Both, encoder


def views(x):
    return x, x.flip(1)


@shape("the mean logits of two views")
class Views(Module):
    def loss(self, batch, stage):
        x, y = batch
        return F.cross_entropy((self(x) + self(x.flip(1))) / 2, y)

    def by_hand(self, batch, stage):
        return sum(self.net(view) for view in views(batch[0])) / 2, batch[1]


@shape("the mean probabilities of two views")
class ViewProbabilities(Module):
    def loss(self, batch, stage):
        x, y = batch
        p = torch.stack([self(view).softmax(dim=1) for view in views(x)]).mean(dim=0)
        return F.nll_loss(p.log(), y)

    def by_hand(self, batch, stage):
        return torch.stack([self.net(view).softmax(1) for view in views(batch[0])]).mean(0).log(), batch[1]


@shape("the mean logits of three networks")
class Ensemble(Module):
    def __init__(self):
        super().__init__(nn.ModuleList(nn.Linear(FEATURES, CLASSES) for _ in range(3)))

    def loss(self, batch, stage):
        return F.cross_entropy(torch.stack([net(batch[0]) for net in self.net]).mean(0), batch[1])

    def by_hand(self, batch, stage):
        return sum(net(batch[0]) for net in self.net) / 3, batch[1]


@shape("a teacher and a student")
class Distillation(Module):
    def __init__(self):
        super().__init__()
        self.teacher = nn.Linear(FEATURES, CLASSES).requires_grad_(False)

    def loss(self, batch, stage):
        x, y = batch
        student, teacher = self.net(x), self.teacher(x)
        soft = F.kl_div((student / 2).log_softmax(1), (teacher / 2).softmax(1), reduction="batchmean")
        return F.cross_entropy(student, y) + soft


@shape("validation by an averaged copy")
class Averaged(Module):
    def __init__(self):
        super().__init__()
        self.copy = nn.Linear(FEATURES, CLASSES).requires_grad_(False)

    def on_train_batch_end(self, *_):
        for old, new in zip(self.copy.parameters(), self.net.parameters(), strict=True):
            old.lerp_(new.detach(), 0.3)

    def loss(self, batch, stage):
        net = self.net if stage == "train" else self.copy
        return F.cross_entropy(net(batch[0]), batch[1])

    def by_hand(self, batch, stage):
        return self.copy(batch[0]), batch[1]


def frames(stage):
    x, y = table(stage)
    return load((x[:, None] + torch.randn(len(x), 4, FEATURES, generator=generator("test")), y))


@shape("frames that pass as rows, and their mean", frames)
class Frames(Module):
    def loss(self, batch, stage):
        x, y = batch
        return F.cross_entropy(self(x.flatten(0, 1)).view(len(x), 4, CLASSES).mean(1), y)

    def by_hand(self, batch, stage):
        return self.net(batch[0]).mean(1), batch[1]


@shape("a bag of instances in each batch", lambda stage: load(frames(stage).dataset.tensors, size=1))
class Bags(Module):
    def forward(self, x):
        return self.net(x.squeeze(0)).amax(0, keepdim=True)

    def by_hand(self, batch, stage):
        return self.net(batch[0][0]).amax(0)[None], batch[1]


@shape("a recurrent network and its state", frames)
class Recurrent(Module):
    def __init__(self):
        super().__init__(nn.GRU(FEATURES, CLASSES, batch_first=True))

    def loss(self, batch, stage):
        _, state = self.net(batch[0])
        return F.cross_entropy(state[-1], batch[1])

    def by_hand(self, batch, stage):
        return self.net(batch[0])[0][:, -1], batch[1]


@shape("gradient checkpoints in the network")
class Checkpointed(Both):
    def forward(self, x):
        return self.head(checkpoint(self.net, x, use_reentrant=False))

    def loss(self, batch, stage):
        return F.cross_entropy(self(batch[0]), batch[1])


@shape("a compiled network")
class Compiled(Module):
    def __init__(self):
        torch._dynamo.reset()
        super().__init__()
        self.compiled = torch.compile(self.net, backend="eager")

    def forward(self, x):
        return self.compiled(x)


@shape("dropout and batch normalisation")
class Dropout(Module):
    def __init__(self):
        super().__init__(nn.Sequential(encoder(), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, CLASSES)))


@shape("bfloat16", trainer={"precision": "bf16-mixed"}, tolerance=1e-3)
class LowPrecision(Module):
    def by_hand(self, batch, stage):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return self.net(batch[0]).float(), batch[1]


@shape("an optimisation of one's own")
class Manual(Module):
    automatic_optimization = False

    def training_step(self, batch, batch_idx):
        optimizer = self.optimizers()
        optimizer.zero_grad()
        self.manual_backward(self.loss(batch, "train"))
        optimizer.step()


@shape("a few rows shown of the first batch")
class Examples(Module):
    """One call more in the first batch than in the others."""

    def show(self, batch, batch_idx):
        if batch_idx == 0:
            self.examples = self(batch[0][:4]).softmax(dim=1)

    def validation_step(self, batch, batch_idx):
        self.show(batch, batch_idx)
        return self.evaluation_step(batch, "val")

    def test_step(self, batch, batch_idx):
        loss = self.evaluation_step(batch, "test")
        self.show(batch, batch_idx)
        return loss


TWICE = "lightning_posttrain saw no class scores in the step and runs the module a second time"


@shape("a batch in two halves", error="logits|scores_", or_right=True, warns=(TWICE,))
class Halves(Module):
    def loss(self, batch, stage):
        x, y = batch
        half = BATCH // 2
        first = F.cross_entropy(self(x[:half]), y[:half], reduction="sum")
        return (first + F.cross_entropy(self(x[half:]), y[half:], reduction="sum")) / len(y)
