"""One class a row, in batches of every form."""

from __future__ import annotations

from collections import UserDict
from dataclasses import dataclass
from types import SimpleNamespace
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, IterableDataset, default_collate

from tests.modules.shapes import BATCH, CLASSES, FEATURES, ROWS, Module, generator, load, noisy, rows, shape, table


def formed(form, collate=None):
    """Loaders of ``form(x, y)``, or of what ``collate`` makes of a list of ``(x, y)``."""
    return lambda stage: load(table(stage), form) if collate is None else load(table(stage), collate_fn=collate)


class Unpacking(Module):
    """Its step takes a batch apart by ``parts``."""

    def __init__(self, parts):
        super().__init__()
        self.parts = parts

    def loss(self, batch, stage):
        x, y = self.parts(batch)
        return F.cross_entropy(self(x), y)

    def size(self, batch):
        return len(self.parts(batch)[1])

    def by_hand(self, batch, stage):
        x, y = self.parts(batch)
        return self.net(x), y


@shape("lists of inputs and targets", formed(lambda x, y: [x, y]))
def lists():
    return Unpacking(lambda batch: (batch[0], batch[1]))


@shape("dicts with unusual keys", formed(lambda x, y: {"foto": x, "was": y}))
def unusual_keys():
    return Unpacking(lambda batch: (batch["foto"], batch["was"]))


class Encoding(UserDict):
    """As Hugging Face's ``BatchEncoding``: a mapping that is no dict."""


@shape("mappings that are no dicts", formed(None, lambda samples: Encoding(collated(samples))))
def mappings():
    return Unpacking(lambda batch: (batch["features"], batch["labels"]))


def collated(samples):
    x, y = default_collate(samples)
    return {"features": x, "labels": y}


@dataclass
class Record:
    values: torch.Tensor
    species: torch.Tensor


@shape("dataclasses", formed(None, lambda samples: Record(*default_collate(samples))))
def dataclasses():
    return Unpacking(lambda batch: (batch.values, batch.species))


class Sample(NamedTuple):
    weight: torch.Tensor
    features: torch.Tensor
    Y: torch.Tensor


@shape("named tuples", formed(lambda x, y: Sample(torch.tensor(1.0), x, y)))
def named_tuples():
    return Unpacking(lambda batch: (batch.features, batch.Y))


@shape("objects with attributes", formed(None, lambda samples: SimpleNamespace(**collated(samples))))
def attributes():
    return Unpacking(lambda batch: (batch.features, batch.labels))


@shape("samples that the step stacks", formed(None, list))
def stacked():
    return Unpacking(lambda batch: (torch.stack([x for x, _ in batch]), torch.tensor([int(y) for _, y in batch])))


@shape("rows, targets and positions", lambda stage: load((*table(stage), torch.arange(ROWS[stage]))))
def positions():
    return Unpacking(lambda batch: batch[:2])


@shape("targets before the inputs", formed(lambda x, y: (y, x)))
def swapped():
    return Unpacking(lambda batch: (batch[1], batch[0]))


@shape("names of the rows, a dict and the targets", formed(lambda x, y: (f"row {x[0]:.3f}", {"values": x}, y)))
def names():
    return Unpacking(lambda batch: (batch[1]["values"], batch[2]))


class TwoInputs(Module):
    def __init__(self):
        super().__init__()
        self.other = nn.Linear(FEATURES, CLASSES)

    def forward(self, a, b):
        return self.net(a) + self.other(b)

    def loss(self, batch, stage):
        (a, b), y = batch
        return F.cross_entropy(self(a, b), y)

    def by_hand(self, batch, stage):
        return self.net(batch[0][0]) + self.other(batch[0][1]), batch[1]


@shape("nested tuples", formed(lambda x, y: ((x, x.flip(0)), y)))
class Nested(TwoInputs):
    pass


@shape("two inputs before the targets", formed(lambda x, y: (x, x.flip(0), y)))
class Three(TwoInputs):
    def loss(self, batch, stage):
        a, b, y = batch
        return F.cross_entropy(self(a, b), y)

    def by_hand(self, batch, stage):
        return self.net(batch[0]) + self.other(batch[1]), batch[2]


def columns(stage):
    """Numbers and codes of a table; the codes have as many values as there are classes."""
    x, y = table(stage)
    codes = torch.randint(0, CLASSES, (len(x), 2), generator=generator(stage))
    return load(
        (x, codes, (y + codes[:, 0] // 2) % CLASSES),
        lambda x, codes, y: {"continuous": x, "categorical": codes, "target": y[None]},
    )


@shape("numbers, codes and targets of a table", columns)
class Tabular(Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.head = nn.Embedding(CLASSES, 2), nn.Linear(FEATURES + 4, CLASSES)

    def forward(self, x):
        return {"logits": self.head(torch.cat([x["continuous"], self.embedding(x["categorical"]).flatten(1)], dim=1))}

    def loss(self, batch, stage):
        return F.cross_entropy(self(batch)["logits"], batch["target"].squeeze(-1))

    def by_hand(self, batch, stage):
        codes = self.embedding.weight[batch["categorical"]].flatten(1)
        return self.head(torch.cat([batch["continuous"], codes], 1)), batch["target"][:, 0]


@shape("targets that the step takes out of the batch", formed(lambda x, y: {"values": x, "labels": y}))
class Popping(Module):
    def loss(self, batch, stage):
        y = batch.pop("labels")
        return F.cross_entropy(self(**batch), y)

    def forward(self, values):
        return self.net(values)

    def by_hand(self, batch, stage):
        return self.net(batch["values"]), batch["labels"]


@shape("inputs that the step normalises in place")
class InPlace(Module):
    def loss(self, batch, stage):
        x, y = batch
        x.sub_(0.3).mul_(2)
        return F.cross_entropy(self(x), y)

    def by_hand(self, batch, stage):
        return self.net((batch[0] - 0.3) * 2), batch[1]


@shape("more in a batch of the test than of validation", lambda stage: load(wider(stage)))
class OtherTest(Module):
    def loss(self, batch, stage):
        x, y = (batch[1], batch[2]) if stage == "test" else batch
        return F.cross_entropy(self(x), y)

    def by_hand(self, batch, stage):
        return self.net(batch[-2]), batch[-1]


def wider(stage):
    x, y = table(stage)
    return (y.flip(0), x, y) if stage == "test" else (x, y)


class Flow(IterableDataset):
    def __init__(self, stage):
        self.stage = stage

    def __iter__(self):
        return iter(zip(*table(self.stage), strict=True))


@shape("a dataset without a length", lambda stage: DataLoader(Flow(stage), batch_size=BATCH))
class Iterated(Module):
    pass


@shape("a last batch of one row", lambda stage: load(tuple(part[:33] for part in table(stage))))
class OneRow(Module):
    pass


def of_both(stage):
    """Two loaders for each evaluation: other rows, and more of them."""
    x = torch.randn(29, FEATURES, generator=torch.Generator().manual_seed(7))
    second = load((x, noisy(x, stage)))
    return rows(stage) if stage == "train" else [rows(stage), second]


@shape("two loaders", of_both)
class TwoLoaders(Module):
    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        return self.evaluation_step(batch, "val")

    def test_step(self, batch, batch_idx, dataloader_idx=0):
        return self.evaluation_step(batch, "test")
