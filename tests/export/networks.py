"""Small networks of the kinds that people ship."""

import torch
from torch import nn


class Cnn(nn.Module):
    def __init__(self, outputs=3):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.3), nn.Flatten())
        self.head = nn.Linear(4 * 36, outputs)

    def forward(self, x):
        return self.head(self.layers(x))


class Lstm(nn.Module):
    def __init__(self):
        super().__init__()
        self.recurrent = nn.LSTM(6, 8, num_layers=2, batch_first=True, dropout=0.2)
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.recurrent(x)[0][:, -1])


class Vit(nn.Module):
    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(1, 16, 4, 4)
        self.encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 4, 32, batch_first=True), 2)
        self.head = nn.Linear(16, 3)

    def forward(self, x):
        return self.head(self.encoder(self.patches(x).flatten(2).transpose(1, 2)).mean(1))


class Unet(nn.Module):
    def __init__(self, classes=3):
        super().__init__()
        self.down, self.low = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 8, 3, padding=1)
        self.up, self.out = nn.ConvTranspose2d(8, 4, 2, stride=2), nn.Conv2d(8, classes, 1)

    def forward(self, x):
        high = self.down(x).relu()
        return self.out(torch.cat([high, self.up(self.low(nn.functional.max_pool2d(high, 2)).relu())], 1))


class Text(nn.Module):
    """Mean of the embeddings that a mask lets through."""

    def __init__(self):
        super().__init__()
        self.words, self.head = nn.Embedding(40, 8), nn.Linear(8, 3)

    def forward(self, ids, mask=None, labels=None):
        shown = mask[..., None].to(torch.float32)
        logits = self.head((self.words(ids) * shown).sum(1) / shown.sum(1))
        loss = None if labels is None else nn.functional.cross_entropy(logits, labels)
        return (logits,) if loss is None else (loss, logits)


class Tied(nn.Module):
    """Two layers with one matrix."""

    def __init__(self):
        super().__init__()
        self.encode, self.decode, self.head = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 3)
        self.decode.weight = self.encode.weight

    def forward(self, x):
        return self.head(self.decode(self.encode(x).relu()))


def settled(network, *rows):
    """In training mode as a fit leaves it, with normalisation that has seen rows."""
    with torch.no_grad():
        network.train()(*rows)
    return network
