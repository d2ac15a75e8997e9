"""One class a row: what gives the scores, and what the network gives beside them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from tests.modules.shapes import CLASSES, FEATURES, Module, generator, load, shape, table


def encoder(width=8):
    return nn.Sequential(nn.Linear(FEATURES, width), nn.Tanh())


class Functional(Module):
    """The last layer is a function of a parameter."""

    def __init__(self, width=8):
        super().__init__()
        self.net, self.w = encoder(width), nn.Parameter(torch.randn(CLASSES, width))

    def by_hand(self, batch, stage):
        return self.net(batch[0]) @ self.w.T, batch[1]


@shape("a functional head in the forward")
class HeadInForward(Functional):
    def forward(self, x):
        return F.linear(self.net(x), self.w)


@shape("a functional head in the step")
class HeadInStep(Functional):
    def loss(self, batch, stage):
        return F.cross_entropy(F.linear(self.net(batch[0]), self.w), batch[1])


@shape("a forward that gives embeddings, and a product in the step")
class Embeddings(Functional):
    def __init__(self):
        super().__init__(width=4)  # nearly as many as classes

    def loss(self, batch, stage):
        z = self(batch[0])
        return F.cross_entropy(z @ self.w.T, batch[1])


@shape("a forward that gives wide embeddings, and a product in the step")
class WideEmbeddings(Embeddings):
    def __init__(self):
        Functional.__init__(self, width=32)


@shape("cosines times a scale in the step")
class Cosines(Functional):
    def loss(self, batch, stage):
        z = F.normalize(self(batch[0]))
        return F.cross_entropy(8 * F.linear(z, F.normalize(self.w)), batch[1])

    def by_hand(self, batch, stage):
        z = self.net(batch[0])
        lengths = z.norm(dim=1).clamp(min=1e-12)[:, None] * self.w.norm(dim=1)
        return 8 * (z @ self.w.T) / lengths, batch[1]


@shape("distances to prototypes in the step")
class Prototypes(Functional):
    def loss(self, batch, stage):
        return F.cross_entropy(-torch.cdist(self(batch[0]), self.w), batch[1])

    def by_hand(self, batch, stage):
        return -(self.net(batch[0])[:, None] - self.w).norm(dim=2), batch[1]


@shape("a margin on the true class in the loss", error="logits", or_right=True)
class TrueClassMargin(Cosines):
    """What reaches the loss knows the answer: it is no prediction."""

    def loss(self, batch, stage):
        x, y = batch
        cosines = F.linear(F.normalize(self(x)), F.normalize(self.w))
        return F.cross_entropy(8 * (cosines - 0.5 * F.one_hot(y, CLASSES)), y)


class Axis(Module):
    """Its forward gives ``(N, 1, C)``: an axis for tasks, of which there is one."""

    def __init__(self, width=32):
        super().__init__(encoder(width))
        self.head = nn.Linear(width, CLASSES)

    def forward(self, x):
        return self.head(self.net(x)).unflatten(1, (1, CLASSES))

    def by_hand(self, batch, stage):
        return self.head(self.net(batch[0])), batch[1].flatten()


@shape("an axis of tasks that the step takes away")
class TakenAxis(Axis):
    def loss(self, batch, stage):
        return F.cross_entropy(self(batch[0])[:, 0], batch[1])


def columns(stage):
    x, y = table(stage)
    return load((x, y[:, None]))


@shape("an axis of tasks in the loss and the targets", columns)
class KeptAxis(Axis):
    def loss(self, batch, stage):
        return F.cross_entropy(self(batch[0]).transpose(1, 2), batch[1])


@shape("a forward that gives features and logits")
class Both(Module):
    def __init__(self):
        super().__init__(encoder())
        self.head = nn.Linear(8, CLASSES)

    def forward(self, x):
        z = self.net(x)
        return z, self.head(z)

    def loss(self, batch, stage):
        _, logits = self(batch[0])
        return F.cross_entropy(logits, batch[1])

    def by_hand(self, batch, stage):
        return self.head(self.net(batch[0])), batch[1]


@shape("a forward that gives a dict of features and logits of one width")
class Named(Both):
    def __init__(self):
        Module.__init__(self, encoder(CLASSES))
        self.head = nn.Linear(CLASSES, CLASSES, bias=False)

    def forward(self, x):
        z = self.net(x)
        return {"embedding": z, "output": self.head(z)}

    def loss(self, batch, stage):
        return F.cross_entropy(self(batch[0])["output"], batch[1])


@shape("parts called one by one in the step")
class Inline(Both):
    def loss(self, batch, stage):
        z = F.dropout(torch.tanh(self.net[0](batch[0])), 0.2, self.training)
        return F.cross_entropy(self.head(z), batch[1])


@dataclass
class Output:
    loss: Any
    logits: torch.Tensor
    hidden: torch.Tensor


class HubModel(nn.Module):
    """As Hugging Face's: with labels it works out the loss itself."""

    def __init__(self):
        super().__init__()
        self.embedding, self.classifier = nn.Embedding(12, 8), nn.Linear(8, CLASSES)

    def forward(self, input_ids, attention_mask=None, labels=None):
        mask = attention_mask[..., None]
        hidden = (self.embedding(input_ids) * mask).sum(1) / mask.sum(1)
        logits = self.classifier(hidden)
        return Output(None if labels is None else F.cross_entropy(logits, labels), logits, hidden)


def texts(stage):
    """Batches of ids, of which those after the fourth may be padding; a class is what the first ids sum to."""
    ids = torch.randint(1, 12, (len(table(stage)[1]), 7), generator=generator(stage))
    y = (ids[:, :3].sum(1) // 4 + torch.randint(0, 2, (len(ids),), generator=generator(stage))) % CLASSES
    mask = (torch.arange(7) < 4 + y[:, None]).long()
    return load((ids * mask, mask, y), lambda i, m, y: {"input_ids": i, "attention_mask": m, "labels": y})


@shape("a loss inside the model", texts)
class InsideModel(Module):
    def __init__(self):
        super().__init__(HubModel())

    def loss(self, batch, stage):
        return self.net(**batch).loss

    def by_hand(self, batch, stage):
        return self.net(batch["input_ids"], batch["attention_mask"]).logits, batch["labels"]
