"""Steps that classify nothing: an error before training says what was heard of them."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from tests.modules.shapes import CLASSES, FEATURES, Module, generator, load, shape, table


class Refused(Module):
    """There is nothing to work out by hand."""

    by_hand = None


@shape("an autoencoder", error="mse_loss")
class Autoencoder(Refused):
    def __init__(self):
        super().__init__(nn.Sequential(nn.Linear(FEATURES, 2), nn.Linear(2, FEATURES)))

    def loss(self, batch, stage):
        x, _ = batch
        return F.mse_loss(self(x), x)


@shape("an autoencoder without targets", lambda stage: load(table(stage)[:1], lambda x: x), error="mse_loss")
class Unlabelled(Autoencoder):
    def loss(self, batch, stage):
        return F.mse_loss(self(batch), batch)


def values(stage):
    x, _ = table(stage)
    return load((x, x.sum(1) + torch.randn(len(x), generator=generator(stage))))


@shape("a regression", values, error=r"(?s)(?=.*mse_loss)(?=.*TorchMetrics)")
class Regression(Refused):
    def __init__(self):
        super().__init__(nn.Linear(FEATURES, 1))

    def loss(self, batch, stage):
        return F.mse_loss(self(batch[0]).squeeze(1), batch[1])


@shape("a regression of counts", error=r"(?s)(?=.*smooth_l1_loss)(?=.*TorchMetrics)")
class Counts(Regression):
    """Its targets are whole numbers: what they are is known from the loss alone."""

    def loss(self, batch, stage):
        return F.smooth_l1_loss(self(batch[0])[:, 0], batch[1].float())


def two_views(stage):
    x, _ = table(stage)
    return load((x, x + 0.3 * torch.randn(x.shape, generator=generator("test"))))


@shape("a contrastive loss", two_views, error=r"(?s)(?=.*cross_entropy)(?=.*target)")
class Contrastive(Refused):
    def __init__(self):
        super().__init__(nn.Linear(FEATURES, 8))

    def loss(self, batch, stage):
        a, b = (F.normalize(self(view)) for view in batch)
        return F.cross_entropy(a @ b.T / 0.1, torch.arange(len(a), device=a.device))


@shape("a triplet loss", error="triplet_margin_loss")
class Triplets(Refused):
    """Its forward gives embeddings, which have the shape of class scores."""

    def __init__(self):
        super().__init__(nn.Linear(FEATURES, 8))

    def loss(self, batch, stage):
        x, y = batch
        z, same = self(x), y[:, None] == y
        friend = (same & ~torch.eye(len(y), dtype=torch.bool)).long().argmax(1)
        return F.triplet_margin_loss(z, z[friend], z[(~same).long().argmax(1)])


def votes(stage):
    """Shares of people who said each class."""
    x, y = table(stage)
    return load((x, 0.7 * F.one_hot(y, CLASSES) + 0.1))


@shape("soft targets", votes, error="(?i)soft|fraction|share|mixed")
class Soft(Refused):
    pass


@shape("mixup in validation", error="(?i)soft|fraction|share|mixed")
class Mixup(Refused):
    def loss(self, batch, stage):
        x, y = batch
        hot = F.one_hot(y, CLASSES).float()
        return F.cross_entropy(self(0.7 * x + 0.3 * x.flip(0)), 0.7 * hot + 0.3 * hot.flip(0))
