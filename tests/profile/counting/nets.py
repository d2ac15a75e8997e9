"""Small networks of each kind, each with a batch and, where it is short enough, a count by hand."""

from itertools import pairwise
from types import SimpleNamespace

import torch
from torch import nn
from torch.nn import functional as F

BATCH = 2


class Shared(nn.Module):
    """One convolution three times."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(1, 8, 3, padding=1)
        self.again = nn.Conv2d(8, 8, 3, padding=1)
        self.head = nn.Linear(8, 10)

    def forward(self, x):
        x = self.first(x)
        for _ in range(3):
            x = F.relu(self.again(x))
        return self.head(x.mean((2, 3)))


class Recurrent(nn.Module):
    def __init__(self, kind, **options):
        super().__init__()
        self.series = kind(6, 16, batch_first=True, **options)
        self.head = nn.Linear(32 if options.get("bidirectional") else 16, 5)

    def forward(self, x):
        return self.head(self.series(x)[0][:, -1])


class Cells(nn.Module):
    """An LSTM cell, step by step."""

    def __init__(self, steps=50):
        super().__init__()
        self.steps = steps
        self.cell = nn.LSTMCell(4, 8)

    def forward(self, x):
        state = (x.new_zeros(len(x), 8), x.new_zeros(len(x), 8))
        for _ in range(self.steps):
            state = self.cell(x, state)
        return state[0]


class ViT(nn.Module):
    """A transformer of patches, with a token and positions that are bare parameters."""

    def __init__(self, depth=2):
        super().__init__()
        self.patches = nn.Conv2d(1, 16, 4, stride=4)
        self.token = nn.Parameter(torch.zeros(1, 1, 16))
        self.position = nn.Parameter(torch.zeros(1, 5, 16))
        layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, depth)
        self.head = nn.Linear(16, 10)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1) + self.position
        return self.head(self.encoder(x)[:, 0])


class UNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.down = nn.Conv2d(1, 8, 3, padding=1)
        self.deep = nn.Conv2d(8, 16, 3, padding=1)
        self.up = nn.ConvTranspose2d(16, 8, 2, stride=2)
        self.out = nn.Conv2d(16, 3, 1)

    def forward(self, x):
        wide = self.down(x)
        deep = self.up(self.deep(F.max_pool2d(wide, 2)))
        return self.out(torch.cat([wide, deep], 1))


class BasicBlock(nn.Module):
    def __init__(self, inner, outer, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inner, outer, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outer)
        self.conv2 = nn.Conv2d(outer, outer, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outer)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = nn.Sequential()
        if stride > 1:
            self.downsample = nn.Sequential(nn.Conv2d(inner, outer, 1, stride, bias=False), nn.BatchNorm2d(outer))

    def forward(self, x):
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        return self.relu(y + self.downsample(x))


class ResNet18(nn.Module):
    """He et al., 2015, https://arxiv.org/abs/1512.03385, table 1."""

    def __init__(self, classes=1000):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(inplace=True))
        self.pool = nn.MaxPool2d(3, 2, 1)
        widths = (64, 64, 128, 256, 512)
        stages = [
            nn.Sequential(BasicBlock(inner, outer, 1 if inner == outer else 2), BasicBlock(outer, outer, 1))
            for inner, outer in pairwise(widths)
        ]
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.head = nn.Linear(512, classes)

    def forward(self, x):
        x = self.layer4(self.layer3(self.layer2(self.layer1(self.pool(self.stem(x))))))
        return self.head(x.mean((2, 3)))


class Bert(nn.Module):
    """Tokens and positions, one block of fused attention, a decoder that is tied to the embedding."""

    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(30, 16)
        self.positions = nn.Embedding(12, 16)
        self.norm = nn.LayerNorm(16)
        self.qkv = nn.Linear(16, 48)
        self.merge = nn.Linear(16, 16)
        self.feed = nn.Sequential(nn.Linear(16, 64), nn.GELU(), nn.Linear(64, 16))
        self.decoder = nn.Linear(16, 30)
        self.decoder.weight = self.words.weight
        self.scale = nn.Parameter(torch.ones(16))

    def forward(self, ids):
        x = self.norm(self.words(ids) + self.positions.weight[: ids.shape[1]])
        query, key, value = self.qkv(x).unflatten(2, (3, 4, 4)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        x = x + self.scale * self.merge(mixed)
        return self.decoder(x + self.feed(x))


class Partly(nn.Module):
    """A frozen layer, one that nobody calls, and one that is called under two names."""

    def __init__(self):
        super().__init__()
        self.frozen = nn.Linear(8, 8).requires_grad_(False)
        self.unused = nn.Linear(100, 100)
        self.layer = nn.Linear(8, 8)
        self.same = self.layer

    def forward(self, x):
        return self.same(F.relu(self.layer(self.frozen(x))))


class Sturdy(nn.Module):
    """A part that fails inside of a forward which goes on without it."""

    class Fails(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Linear(8, 8)

        def forward(self, x):
            self.inner(x)
            raise LookupError("no such thing")

    def __init__(self):
        super().__init__()
        self.fails = self.Fails()
        self.head = nn.Linear(8, 3)
        self.weight = nn.Parameter(torch.rand(3, 8))

    def forward(self, x):
        try:
            self.fails(x)
        except LookupError:
            x = x + 1
        return self.head(x) + F.linear(x, self.weight)


def parametrised():
    plain, spectral = nn.Linear(8, 4), nn.Linear(4, 4)
    return nn.Sequential(
        nn.utils.parametrizations.weight_norm(plain), nn.utils.parametrizations.spectral_norm(spectral)
    )


def tied_autoencoder():
    net = nn.Sequential(nn.Linear(8, 8, bias=False), nn.ReLU(), nn.Linear(8, 8))
    net[2].weight = net[0].weight
    return net


def cnn():
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1, groups=2),
        nn.BatchNorm2d(16),
        nn.Flatten(),
        nn.Linear(256, 10),
    )


def net(build, shape, by_hand=None):
    return SimpleNamespace(build=build, shape=shape, by_hand=by_hand)


STEPS = BATCH * 10
# queries, keys and values; scores and their mixture of 5 tokens in 4 heads of 4; the projection; two linear layers
_BLOCK = 5 * 16 * 48 + 2 * 5 * 5 * 16 + 5 * 16 * 16 + 2 * 5 * 16 * 32
NETS = {
    "CNN": net(cnn, (1, 8, 8), 2 * BATCH * (64 * 9 * 8 + 16 * 9 * 8 // 2 * 16 + 256 * 10)),
    "shared": net(Shared, (1, 8, 8), 2 * BATCH * (64 * 9 * 8 + 3 * 64 * 9 * 8 * 8 + 8 * 10)),
    "LSTM": net(
        lambda: Recurrent(nn.LSTM, num_layers=2),
        (10, 6),
        # four gates of 16, from the input or the layer below, and from the state
        2 * (STEPS * 4 * 16 * (6 + 16) + STEPS * 4 * 16 * (16 + 16) + BATCH * 16 * 5),
    ),
    "GRU": net(
        lambda: Recurrent(nn.GRU, bidirectional=True),
        (10, 6),
        2 * (2 * STEPS * 3 * 16 * (6 + 16) + BATCH * 32 * 5),
    ),
    "RNN": net(lambda: Recurrent(nn.RNN), (10, 6), 2 * (STEPS * 16 * (6 + 16) + BATCH * 16 * 5)),
    "projected LSTM": net(
        lambda: nn.Sequential(nn.LSTM(6, 16, proj_size=4, batch_first=True)),
        (10, 6),
        2 * STEPS * (4 * 16 * (6 + 4) + 16 * 4),
    ),
    "cells": net(Cells, (4,), 50 * 2 * BATCH * 4 * 8 * (4 + 8)),
    "ViT": net(ViT, (1, 8, 8), 2 * BATCH * (4 * 16 * 16 + 2 * _BLOCK + 16 * 10)),
    "UNet": net(UNet, (1, 8, 8), 2 * BATCH * (64 * 9 * 8 + 16 * 9 * 8 * 16 + 16 * 16 * 8 * 4 + 64 * 16 * 3)),
    "bilinear": net(
        lambda: Twice(nn.Bilinear(5, 5, 3)),
        (5,),
        2 * BATCH * 3 * 5 * (5 + 1),
    ),
    "BERT": net(Bert, None),
    "ResNet-18": net(lambda: ResNet18(10), (3, 64, 64)),
    "partly": net(Partly, (8,)),
    "sturdy": net(Sturdy, (8,), 2 * BATCH * (8 * 8 + 8 * 3 + 8 * 3)),
    "parametrised": net(parametrised, (8,)),
    "tied": net(tied_autoencoder, (8,), 2 * BATCH * (8 * 8 + 8 * 8)),
    "lazy": net(lambda: nn.Sequential(nn.LazyConv2d(4, 3), nn.Flatten(), nn.LazyLinear(2)), (1, 8, 8)),
    "one layer": net(lambda: nn.Linear(8, 2), (8,), 2 * BATCH * 8 * 2),
}


class Twice(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return self.layer(x, x)


def made(name):
    """A network in evaluation, and its batch."""
    torch.manual_seed(0)
    given = NETS[name]
    batch = torch.randint(30, (BATCH, 12)) if given.shape is None else torch.rand(BATCH, *given.shape)
    return given.build().eval(), batch
