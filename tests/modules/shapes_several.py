"""Steps with more than one target."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from tests.modules.shapes import CLASSES, FEATURES, Module, generator, load, noisy, shape, table

AGES = 5


def people(stage):
    """Numbers, and two classes of each row."""
    x, species = table(stage)
    return x, species, noisy(x.flip(1), stage, AGES)


def dicts(stage):
    return load(people(stage), lambda x, species, age: {"x": x, "species": species, "age": age})


def tuples(stage):
    return load(people(stage))


class Heads(Module):
    def __init__(self, ages=AGES):
        super().__init__(nn.Sequential(nn.Linear(FEATURES, 8), nn.Tanh()))
        self.heads = nn.ModuleDict({"species": nn.Linear(8, CLASSES), "age": nn.Linear(8, ages)})

    def forward(self, x):
        z = self.net(x)
        return {name: head(z) for name, head in self.heads.items()}

    def loss(self, batch, stage):
        scores = self(batch["x"])
        return F.cross_entropy(scores["species"], batch["species"]) + F.cross_entropy(scores["age"], batch["age"])

    def by_hand(self, batch, stage):
        z = self.net(batch["x"])
        return {name: (head(z), batch[name]) for name, head in self.heads.items()}


@shape("two heads and a dict", dicts)
class TwoHeads(Heads):
    pass


@shape("two heads and a dict, one of them chosen", dicts, options={"target": "species"})
class OneHead(Heads):
    def by_hand(self, batch, stage):
        return super().by_hand(batch, stage)["species"]


@shape("two heads and a tuple", tuples)
class TwoHeadsOfTuple(Heads):
    def forward(self, x):
        z = self.net(x)
        return self.heads["species"](z), self.heads["age"](z)

    def loss(self, batch, stage):
        x, species, age = batch
        a, b = self(x)
        return F.cross_entropy(a, species) + 0.5 * F.cross_entropy(b, age)

    def by_hand(self, batch, stage):
        x, species, age = batch
        z = self.net(x)
        # by position; whether there is a word before it is open
        return {r"\D*1": (self.heads["species"](z), species), r"\D*2": (self.heads["age"](z), age)}


@shape("two heads of equal width", lambda stage: load(alike(stage), lambda x, a, b: {"x": x, "species": a, "age": b}))
class AlikeHeads(Heads):
    def __init__(self):
        super().__init__(CLASSES)


def alike(stage):
    x, species, age = people(stage)
    return x, species, (age + 1) % CLASSES


def with_values(stage):
    x, species = table(stage)
    return load((x, species, x.sum(1) + torch.randn(len(x), generator=generator(stage))))


@shape("a class and a value", with_values)
class ClassAndValue(Heads):
    def __init__(self):
        super().__init__(1)

    def loss(self, batch, stage):
        x, species, value = batch
        scores = self(x)
        return F.cross_entropy(scores["species"], species) + F.mse_loss(scores["age"].squeeze(1), value)

    def by_hand(self, batch, stage):
        return self.heads["species"](self.net(batch[0])), batch[1]


@shape("a main and an auxiliary head", error="scores_from", advice={"scores_from": "main"}, or_right=True)
class Auxiliary(Module):
    def __init__(self):
        super().__init__(nn.Sequential(nn.Linear(FEATURES, 8), nn.Tanh()))
        self.main, self.auxiliary = nn.Linear(8, CLASSES), nn.Linear(8, CLASSES)

    def loss(self, batch, stage):
        x, y = batch
        z = self.net(x)
        return F.cross_entropy(self.main(z), y) + 0.4 * F.cross_entropy(self.auxiliary(z), y)

    def by_hand(self, batch, stage):
        return self.main(self.net(batch[0])), batch[1]


def columns(stage):
    x, species, age = people(stage)
    return load((x, torch.stack([species, age], dim=1)), lambda x, y: {"x": x, "labels": y})


@shape("two targets in the columns of one tensor", columns, error="target", or_right=True)
class TargetsInColumns(Heads):
    def loss(self, batch, stage):
        scores, y = self(batch["x"]), batch["labels"]
        return F.cross_entropy(scores["species"], y[:, 0]) + F.cross_entropy(scores["age"], y[:, 1])

    def by_hand(self, batch, stage):
        z, y = self.net(batch["x"]), batch["labels"]
        return {r".*0\D*": (self.heads["species"](z), y[:, 0]), r".*1\D*": (self.heads["age"](z), y[:, 1])}
