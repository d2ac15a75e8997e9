"""One class a row: what the scores and targets go through on their way to a loss."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from tests.modules.shapes import CLASSES, FEATURES, Module, generator, load, shape, table


@shape("the step returns its loss")
class Plain(Module):
    pass


@shape("the step returns None")
class Silent(Module):
    def evaluation_step(self, batch, stage):
        self.log(f"{stage}_loss", self.loss(batch, stage))


@shape("the step returns a dict with logits")
class Told(Module):
    def evaluation_step(self, batch, stage):
        logits = self(batch[0])
        return {"loss": F.cross_entropy(logits, batch[1]), "logits": logits}


@shape("the step returns a tuple of loss and accuracy")
class Pair(Module):
    def evaluation_step(self, batch, stage):
        x, y = batch
        logits = self.net(x)
        return F.cross_entropy(logits, y), (logits.argmax(1) == y).float().mean()


class Criterion(Module):
    """The loss is a module, and the step calls the network past the forward."""

    def __init__(self, criterion, net=None):
        super().__init__(net)
        self.criterion = criterion

    def loss(self, batch, stage):
        return self.criterion(self.net(batch[0]), batch[1])


@shape("a loss module")
def loss_module():
    return Criterion(nn.CrossEntropyLoss())


@shape("label smoothing")
def label_smoothing():
    return Criterion(nn.CrossEntropyLoss(label_smoothing=0.2))


@shape("class weights")
def class_weights():
    return Criterion(nn.CrossEntropyLoss(weight=torch.tensor([0.2, 1.0, 3.0])))


@shape("a sum over the batch as the loss")
def summed():
    return Criterion(nn.CrossEntropyLoss(reduction="sum"))


@shape("arguments of the loss by keyword")
class Keywords(Module):
    def loss(self, batch, stage):
        return F.cross_entropy(target=batch[1], input=self(batch[0]))


def with_gaps(value):
    """Every fifth target is ``value``."""

    def data(stage):
        x, y = table(stage)
        return load((x, torch.where(torch.arange(len(y)) % 5 == 0, value, y)))

    return data


class Gaps(Module):
    """Rows with a certain target enter no loss."""

    ignored = -100

    def loss(self, batch, stage):
        return F.cross_entropy(self(batch[0]), batch[1], ignore_index=self.ignored)

    def by_hand(self, batch, stage):
        x, y = batch
        kept = y != self.ignored
        return self.net(x[kept]), y[kept]


@shape("targets of -100", with_gaps(-100))
class DefaultGaps(Gaps):
    def loss(self, batch, stage):
        return F.cross_entropy(self(batch[0]), batch[1])


@shape("targets of 255, which the loss ignores", with_gaps(255))
class NamedGaps(Gaps):
    ignored = 255


@shape("a class that the loss ignores")
class IgnoredClass(Gaps):
    ignored = 0


@shape("nll_loss of a network that ends in a log-softmax")
class LogProbabilities(Module):
    def __init__(self):
        super().__init__(nn.Sequential(nn.Linear(FEATURES, CLASSES), nn.LogSoftmax(dim=1)))

    def loss(self, batch, stage):
        return F.nll_loss(self(batch[0]), batch[1])


@shape("nll_loss of the log of a softmax")
class Probabilities(Module):
    def __init__(self):
        super().__init__(nn.Sequential(nn.Linear(FEATURES, CLASSES), nn.Softmax(dim=1)))

    def loss(self, batch, stage):
        return F.nll_loss(torch.log(self(batch[0])), batch[1])

    def by_hand(self, batch, stage):
        return self.net[0](batch[0]), batch[1]


@shape(
    "cross_entropy of a softmax, by mistake",
    scores="probabilities",
    error="probabilities",
    advice={"scores": "probabilities"},
)
class Twice(Module):
    def __init__(self):
        super().__init__(nn.Sequential(nn.Linear(FEATURES, CLASSES), nn.Softmax(dim=1)))


def weighted(stage):
    x, y = table(stage)
    return load((x, y, 0.5 + torch.rand(len(y), generator=generator(stage))))


@shape("weights of rows", weighted)
class Weighted(Module):
    def loss(self, batch, stage):
        x, y, weight = batch
        return (F.cross_entropy(self(x), y, reduction="none") * weight).sum() / weight.sum()

    def by_hand(self, batch, stage):
        return self.net(batch[0]), batch[1]


@shape("a focal loss made of cross_entropy")
class Focal(Module):
    def loss(self, batch, stage):
        each = F.cross_entropy(self(batch[0]), batch[1], reduction="none")
        return ((1 - torch.exp(-each)) ** 2 * each).mean()


@shape("a loss of one's own")
class Own(Module):
    def loss(self, batch, stage):
        x, y = batch
        logits = self(x)
        top = logits.amax(1, keepdim=True)
        total = top[:, 0] + (logits - top).exp().sum(1).log()
        return (total - logits[torch.arange(len(y)), y]).mean()


def scripted_loss(logits, target):
    return -logits.log_softmax(1).gather(1, target[:, None]).mean()


@shape("a scripted loss", warns=(r"`torch\.jit\.script` is",))
class Scripted(Module):
    def __init__(self):
        super().__init__()
        self.criterion = torch.jit.script(scripted_loss)

    def loss(self, batch, stage):
        return self.criterion(self(batch[0]), batch[1])


@shape("multi_margin_loss", losses=False)
class Margin(Module):
    def loss(self, batch, stage):
        return F.multi_margin_loss(self(batch[0]), batch[1])


@shape("two losses of the same logits")
class TwoLosses(Module):
    def loss(self, batch, stage):
        logits = self(batch[0])
        return F.cross_entropy(logits, batch[1]) + 0.1 * F.multi_margin_loss(logits, batch[1])


def hot(stage):
    x, y = table(stage)
    return load((x, F.one_hot(y, CLASSES).float()))


@shape("one-hot targets that cross_entropy takes as probabilities", hot)
class Hot(Module):
    def by_hand(self, batch, stage):
        return self.net(batch[0]), batch[1].argmax(1)


def shifted(stage):
    x, y = table(stage)
    return load((x, y + 1))


@shape("classes that count from 1 in the data", shifted)
class CountedFromOne(Module):
    def loss(self, batch, stage):
        return F.cross_entropy(self(batch[0]), batch[1] - 1)

    def by_hand(self, batch, stage):
        return self.net(batch[0]), batch[1] - 1


@shape("targets that the step renumbers in place", shifted)
class RenumberedInPlace(CountedFromOne):
    def loss(self, batch, stage):
        x, y = batch
        y -= 1
        return F.cross_entropy(self(x), y)


CODES = torch.tensor([7, 30, 12])


def renumbered(stage):
    x, y = table(stage)
    return load((x, CODES[y]))


@shape("targets that the step renumbers by a table", renumbered)
class Renumbered(Module):
    def places(self, y):
        return (y[:, None] == CODES).long().argmax(1)

    def loss(self, batch, stage):
        return F.cross_entropy(self(batch[0]), self.places(batch[1]))

    def by_hand(self, batch, stage):
        return self.net(batch[0]), torch.tensor([CODES.tolist().index(code) for code in batch[1].tolist()])


def floats(stage):
    x, y = table(stage)
    return load((x, y.float()))


@shape("float targets that the step casts", floats)
class Floats(Module):
    def loss(self, batch, stage):
        return F.cross_entropy(self(batch[0]), batch[1].long())

    def by_hand(self, batch, stage):
        return self.net(batch[0]), batch[1].long()


def column(stage):
    x, y = table(stage)
    return load((x, y[:, None]))


@shape("a column of targets", column)
class Column(Module):
    def loss(self, batch, stage):
        return F.cross_entropy(self(batch[0]), batch[1].squeeze(1))

    def by_hand(self, batch, stage):
        return self.net(batch[0]), batch[1][:, 0]


@shape("mixup in training alone")
class Mixup(Module):
    def training_step(self, batch, batch_idx):
        x, y = batch
        turn = torch.randperm(len(x), generator=generator("train"))
        soft = F.one_hot(y, CLASSES).float()
        return F.cross_entropy(self(0.7 * x + 0.3 * x[turn]), 0.7 * soft + 0.3 * soft[turn])
