"""Nodes and graphs, of which some rows count."""

from __future__ import annotations

from types import SimpleNamespace

import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader

from tests.modules.shapes import FEATURES, Module, generator, load, noisy, shape, table


class Graph(SimpleNamespace):
    """Nodes with numbers and classes, who is beside whom, and which of them are for what."""


def graph():
    x = torch.randn(80, FEATURES, generator=generator("train"))
    near = (torch.rand(80, 80, generator=generator("val")) < 0.03).float() + 2 * torch.eye(80)
    near = near / near.sum(1, keepdim=True)
    kind = torch.arange(80) % 4
    masks = {"train_mask": kind < 2, "val_mask": kind == 2, "test_mask": (kind == 3) & (torch.arange(80) > 20)}
    return Graph(x=x, near=near, y=noisy(near @ x, "test"), **masks)


class GraphNet(Module):
    def forward(self, x, near):
        return near @ self.net(x)

    def size(self, batch):
        return 1


@shape("nodes of one graph under masks", lambda stage: DataLoader([graph()], batch_size=None))
class Nodes(GraphNet):
    def loss(self, batch, stage):
        mask = getattr(batch, f"{stage}_mask")
        return F.cross_entropy(self(batch.x, batch.near)[mask], batch.y[mask])

    def by_hand(self, batch, stage):
        chosen = getattr(batch, f"{stage}_mask").nonzero().flatten().tolist()
        return self.net(batch.near[chosen] @ batch.x), batch.y[chosen]


def around(stage):
    """Batches of nodes, the asked-for ones first, and some beside them."""
    whole, batches = graph(), []
    seeds = getattr(whole, f"{stage}_mask").nonzero().flatten()
    for some in seeds.split(7):
        others = torch.tensor([i for i in range(stage == "test", 80, 9) if i not in some])
        nodes = torch.cat([some, others])
        near = whole.near[nodes][:, nodes]
        batches.append(Graph(x=whole.x[nodes], near=near, y=whole.y[nodes], batch_size=len(some)))
    return DataLoader(batches, batch_size=None)


@shape("the first rows of a neighbourhood", around)
class Neighbours(GraphNet):
    def loss(self, batch, stage):
        out, y = self(batch.x, batch.near)[: batch.batch_size], batch.y[: batch.batch_size]
        return F.cross_entropy(out, y)

    def by_hand(self, batch, stage):
        return (batch.near @ self.net(batch.x))[: batch.batch_size], batch.y[: batch.batch_size]


def pooled(samples):
    """Graphs of two to five nodes, joined: ``batch`` says whose each node is."""
    sizes = torch.tensor([2 + i % 4 for i in range(len(samples))])
    x = torch.cat([x.expand(size, FEATURES) for (x, _), size in zip(samples, sizes.tolist(), strict=True)])
    x = x + torch.randn(x.shape, generator=generator("test"))
    return Graph(x=x, batch=torch.arange(len(samples)).repeat_interleave(sizes), y=torch.stack([y for _, y in samples]))


@shape("graphs that are pooled", lambda stage: load(table(stage), collate_fn=pooled))
class Pooled(Module):
    def loss(self, batch, stage):
        graphs = torch.zeros(len(batch.y), FEATURES).index_add(0, batch.batch, batch.x)
        return F.cross_entropy(self(graphs), batch.y)

    def size(self, batch):
        return len(batch.y)

    def by_hand(self, batch, stage):
        graphs = torch.stack([batch.x[batch.batch == i].sum(0) for i in range(len(batch.y))])
        return self.net(graphs), batch.y
