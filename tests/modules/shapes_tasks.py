"""Two classes, and several labels a row."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F
from torchmetrics.classification import BinaryAccuracy

from tests.modules.shapes import CLASSES, FEATURES, ROWS, Module, generator, load, shape, table


def halves(stage):
    return load(table(stage, classes=2))


class Binary(Module):
    """One score a row."""

    def __init__(self, *after):
        super().__init__(nn.Sequential(nn.Linear(FEATURES, 1), *after))

    def by_hand(self, batch, stage):
        return self.net(batch[0])[:, 0], batch[1].flatten()


@shape("one logit in a column", halves, task="binary")
class Logit(Binary):
    def __init__(self):
        super().__init__()
        self.criterion = nn.BCEWithLogitsLoss(pos_weight=torch.tensor([2.0]))

    def loss(self, batch, stage):
        return self.criterion(self(batch[0]), batch[1].float().unsqueeze(1))


@shape("one logit without a column", halves, task="binary")
class FlatLogit(Binary):
    def forward(self, x):
        return self.net(x).squeeze(1)

    def loss(self, batch, stage):
        return F.binary_cross_entropy_with_logits(self(batch[0]), batch[1].float())


def float_column(stage):
    x, y = table(stage, classes=2)
    return load((x, y[:, None].float()))


@shape("one probability", float_column, task="binary", scores="probabilities")
class Probability(Binary):
    def __init__(self):
        super().__init__(nn.Sigmoid())

    def loss(self, batch, stage):
        return F.binary_cross_entropy(self(batch[0]), batch[1])


@shape("probabilities for a metric, logits of a part for the loss", halves, task="binary")
class ProbabilitiesAndLogits(Binary):
    """As chemprop's: the two come from two calls."""

    def __init__(self):
        super().__init__()
        self.accuracy = BinaryAccuracy()

    def forward(self, x):
        return self.net(x).sigmoid()

    def loss(self, batch, stage):
        return F.binary_cross_entropy_with_logits(self.net(batch[0]), batch[1][:, None].float())

    def evaluation_step(self, batch, stage):
        self.log(f"{stage}_acc", self.accuracy(self(batch[0])[:, 0], batch[1]))
        self.log(f"{stage}_loss", self.loss(batch, stage))

    def by_hand(self, batch, stage):
        return self.net(batch[0])[:, 0], batch[1]


@shape("two logits for two classes", halves)
class TwoLogits(Module):
    def __init__(self):
        super().__init__(nn.Linear(FEATURES, 2))


@shape("a hinge loss of one's own, told", halves, task="binary", options={"task": "binary"})
class Hinge(Binary):
    def loss(self, batch, stage):
        return (1 - self(batch[0])[:, 0] * (2 * batch[1] - 1)).clamp(min=0).mean()


def same_class(stage):
    x, y = table(stage)
    return load((x, x.flip(0), (y == y.flip(0)).float()))


@shape("whether two inputs are alike", same_class, task="binary")
class Alike(Module):
    def __init__(self):
        super().__init__(nn.Linear(FEATURES, 8))
        self.shift = nn.Parameter(torch.tensor(0.6))

    def loss(self, batch, stage):
        a, b, same = batch
        return F.binary_cross_entropy_with_logits(self.shift - (self(a) - self(b)).pow(2).mean(1), same)

    def by_hand(self, batch, stage):
        a, b, same = batch
        return self.shift - ((self.net(a) - self.net(b)) ** 2).mean(1), same.long()


LABELS = 4


def labels(stage):
    x = torch.randn(ROWS[stage], FEATURES, generator=generator(stage))
    noise = torch.randn(len(x), LABELS, generator=generator(stage))
    return x, (x[:, :LABELS] + 0.5 * noise > -0.3).float()


def labelled(stage):
    return load(labels(stage))


class Labels(Module):
    def __init__(self, *after):
        super().__init__(nn.Sequential(nn.Linear(FEATURES, LABELS), *after))

    def loss(self, batch, stage):
        return F.binary_cross_entropy_with_logits(self(batch[0]), batch[1])


@shape("several labels a row", labelled, task="multilabel")
class LabelLogits(Labels):
    pass


@shape("probabilities of several labels", labelled, task="multilabel", scores="probabilities")
class LabelProbabilities(Labels):
    def __init__(self):
        super().__init__(nn.Sigmoid())

    def loss(self, batch, stage):
        return F.binary_cross_entropy(self(batch[0]), batch[1])


@shape("multilabel_soft_margin_loss", labelled, task="multilabel")
class SoftMargin(Labels):
    def loss(self, batch, stage):
        return F.multilabel_soft_margin_loss(self(batch[0]), batch[1])


@shape(
    "labels of which some are not known, told",
    lambda stage: load((labels(stage)[0], torch.where(labels(stage)[0][:, 2:] > 0.9, -1.0, labels(stage)[1]))),
    task="multilabel",
    options={"task": "multilabel", "target_fn": lambda batch: batch[1], "ignore_index": -1},
)
class KnownLabels(Labels):
    def loss(self, batch, stage):
        x, y = batch
        known = y >= 0
        return F.binary_cross_entropy_with_logits(self(x)[known], y[known])


class Hot(Module):
    """One-hot targets, each class a decision of its own."""

    def loss(self, batch, stage):
        return F.binary_cross_entropy_with_logits(self(batch[0]), batch[1])


def hot(stage):
    x, y = table(stage)
    return load((x, F.one_hot(y, CLASSES).float()))


@shape("one-hot labels under a binary loss", hot, task="multilabel", warns=("each row .* just one label",))
class HotLabels(Hot):
    pass


CHOICE = {"task": "multiclass", "target_fn": lambda batch: batch[1].argmax(1)}


@shape("one-hot labels under a binary loss, told", hot, options=CHOICE)
class HotClasses(Hot):
    def by_hand(self, batch, stage):
        return self.net(batch[0]), batch[1].argmax(1)
