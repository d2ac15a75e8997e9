"""Networks as people write them: functions, in place, used twice, residual, and attention in every form."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

CLASSES = 5


class Plain(nn.Module):
    """Two convolutions with batch normalisation, one activation in a given form, and a maximum pooling."""

    def __init__(self, activation=F.relu, pool=(3, 2, 0)):
        super().__init__()
        self.conv1, self.norm, self.conv2 = (
            nn.Conv2d(3, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.Conv2d(8, 8, 3, padding=1),
        )
        self.activation, self.pool = activation, pool
        size, stride, padding = pool
        self.head = nn.Linear(8 * ((16 + 2 * padding - size) // stride + 1) ** 2, CLASSES)

    def forward(self, x):
        x = self.activation(self.norm(self.conv1(x)))
        x = F.max_pool2d(x, *self.pool) if self.pool != (2, 2, 0) else F.avg_pool2d(x, 2)
        return self.head(self.activation(self.conv2(x)).flatten(1))


class Residual(nn.Module):
    """A sum in place, and one rectifier that is used three times."""

    def __init__(self, activation=None, bias=True, inplace=True):
        super().__init__()
        self.stem, self.inner = (nn.Conv2d(n, 8, 3, padding=1, bias=bias) for n in (3, 8))
        self.norm = nn.BatchNorm2d(8) if bias else nn.Identity()
        self.activation = activation or nn.ReLU(inplace=inplace)
        self.pool, self.head = nn.MaxPool2d(3, 2, 1), nn.Linear(8, CLASSES, bias=bias)

    def forward(self, x):
        x = self.pool(self.activation(self.stem(x)))
        y = self.norm(self.inner(x))
        y += x
        return self.head(self.activation(y).mean((2, 3)))


class Attention(nn.Module):
    """Of four heads, as ``"layer"`` (nn.MultiheadAttention), ``"fused"`` or ``"written"``."""

    def __init__(self, width, form):
        super().__init__()
        self.form = form
        if form == "layer":
            self.attention = nn.MultiheadAttention(width, 4, batch_first=True)
        else:
            self.project, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x):
        if self.form == "layer":
            return self.attention(x, x, x, need_weights=False)[0]
        rows, tokens, width = x.shape
        q, k, v = self.project(x).reshape(rows, tokens, 3, 4, width // 4).permute(2, 0, 3, 1, 4)
        if self.form == "fused":
            y = F.scaled_dot_product_attention(q, k, v)
        else:
            y = (q @ k.transpose(-2, -1) * (width // 4) ** -0.5).softmax(-1) @ v
        return self.out(y.transpose(1, 2).reshape(rows, tokens, width))


class Block(nn.Module):
    def __init__(self, width, form):
        super().__init__()
        self.norm1, self.norm2, self.attention = nn.LayerNorm(width), nn.LayerNorm(width), Attention(width, form)
        self.mlp = nn.Sequential(nn.Linear(width, 32), nn.GELU(), nn.Linear(32, width))

    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Transformer(nn.Module):
    """Over patches of 4 × 4, with a class token or a mean over tokens."""

    def __init__(self, form="layer", token=True, batch_first=True, width=16):
        super().__init__()
        self.form, self.batch_first = form, batch_first
        self.patch = nn.Conv2d(3, width, 4, 4)
        self.token = nn.Parameter(torch.randn(1, 1, width)) if token else None
        self.place = nn.Parameter(torch.randn(1, 16 + token, width) * 0.3)
        if form == "encoder":
            layer = nn.TransformerEncoderLayer(
                width, 4, 32, batch_first=batch_first, activation="gelu", norm_first=batch_first
            )
            self.blocks = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        else:
            self.blocks = nn.Sequential(Block(width, form), Block(width, form))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, CLASSES)

    def forward(self, x):
        tokens = self.patch(x).flatten(2).transpose(1, 2)
        if self.token is not None:
            tokens = torch.cat([self.token.expand(len(x), -1, -1), tokens], 1)
        tokens = tokens + self.place
        tokens = self.blocks(tokens) if self.batch_first else self.blocks(tokens.transpose(0, 1)).transpose(0, 1)
        tokens = self.norm(tokens)
        return self.head(tokens[:, 0] if self.token is not None else tokens.mean(1))


class Gated(nn.Module):
    """Group normalisation, a gate over channels, a maximum over places, a unit vector, log-probabilities."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.GroupNorm(2, 8)
        self.gate, self.head = nn.Linear(8, 8), nn.Linear(8, CLASSES)

    def forward(self, x):
        y = F.silu(self.norm(self.conv(x)))
        y = y * torch.sigmoid(self.gate(y.mean((2, 3))))[:, :, None, None]
        return F.log_softmax(self.head(4 * F.normalize(y.amax((2, 3)), dim=1)), dim=1)


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.head = nn.GRU(48, 12, batch_first=True), nn.Linear(12, CLASSES)

    def forward(self, x):
        return self.head(self.body(x.permute(0, 2, 1, 3).flatten(2))[0][:, -1])


class OfOwn(nn.ReLU):
    """A subclass, which a look-up by type does not find."""


NETS = {
    "functional": Plain,
    "overlapping pools": lambda: Plain(pool=(3, 1, 1)),
    "functional in place": lambda: Plain(lambda x: F.relu(x, inplace=True)),
    "method in place": lambda: Plain(lambda x: x.relu_()),
    "subclass": lambda: Plain(OfOwn()),
    "GELU": lambda: Plain(F.gelu),
    "SiLU in place": lambda: Plain(nn.SiLU(inplace=True)),
    "PReLU": lambda: Plain(nn.PReLU()),
    "Hardswish": lambda: Plain(F.hardswish),
    "residual, used twice, in place": Residual,
    "residual, used twice": lambda: Residual(inplace=False),
    "ViT of layers": Transformer,
    "ViT, fused attention": lambda: Transformer("fused"),
    "ViT, written attention, mean": lambda: Transformer("written", token=False),
    "ViT of encoder layers": lambda: Transformer("encoder"),
    "ViT, sequence first": lambda: Transformer("encoder", batch_first=False),
    "gated": Gated,
}


def made(name, seed=1):
    """A net in eval mode, with statistics as after some training."""
    torch.manual_seed(seed)
    net = NETS[name]() if isinstance(name, str) else name()
    for part in net.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.running_mean, -0.3, 0.3)
            nn.init.uniform_(part.running_var, 0.5, 1.5)
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.uniform_(part.bias, -0.3, 0.3)
    return net.eval()
