"""Networks with known stages."""

import torch
from torch import nn
from torch.nn import functional as F


def block(channels, out, stride=1, dims=2):
    conv, norm = (nn.Conv2d, nn.BatchNorm2d) if dims == 2 else (nn.Conv1d, nn.BatchNorm1d)
    return nn.Sequential(conv(channels, out, 3, stride, 1), norm(out), nn.ReLU())


class Residual(nn.Module):
    """A convolution beside a shortcut."""

    def __init__(self, channels, out, stride=1):
        super().__init__()
        self.body, self.short = block(channels, out, stride), nn.Conv2d(channels, out, 1, stride)

    def forward(self, x):
        return F.relu(self.body(x) + self.short(x))


class ResNet(nn.Module):
    """Stem, pooling, and three stages of two blocks."""

    def __init__(self, classes=4):
        super().__init__()
        self.conv1, self.bn1, self.act1 = nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(2)
        self.layer1 = nn.Sequential(Residual(8, 8), Residual(8, 8))
        self.layer2 = nn.Sequential(Residual(8, 12, 2), Residual(12, 12))
        self.layer3 = nn.Sequential(Residual(12, 16, 2), Residual(16, 16))
        self.fc = nn.Linear(16, classes)

    def forward(self, x):
        x = self.maxpool(self.act1(self.bn1(self.conv1(x))))
        return self.fc(self.layer3(self.layer2(self.layer1(x))).mean((2, 3)))


class UNet(nn.Module):
    """Down, and up again."""

    def __init__(self):
        super().__init__()
        self.d1, self.d2, self.d3 = block(1, 4), block(4, 6), block(6, 8)
        self.u2, self.c2 = nn.ConvTranspose2d(8, 6, 2, 2), block(12, 6)
        self.u1, self.c1 = nn.ConvTranspose2d(6, 4, 2, 2), block(8, 4)
        self.out = nn.Conv2d(4, 2, 1)

    def forward(self, x):
        a = self.d1(x)
        b = self.d2(F.max_pool2d(a, 2))
        c = self.c2(torch.cat([self.u2(self.d3(F.max_pool2d(b, 2))), b], 1))
        return self.out(self.c1(torch.cat([self.u1(c), a], 1)))


class ViT(nn.Module):
    """Patches with a class token, and blocks of attention."""

    def __init__(self, depth=6, classes=4):
        super().__init__()
        self.patch, self.token = nn.Conv2d(1, 16, 4, 4), nn.Parameter(torch.zeros(1, 1, 16))
        layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.blocks = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
        self.head = nn.Linear(16, classes)

    def forward(self, x):
        tokens = self.patch(x).flatten(2).transpose(1, 2)
        return self.head(self.blocks(torch.cat([self.token.expand(len(x), -1, -1), tokens], 1))[:, 0])


class Series(nn.Module):
    """Convolutions in one dimension."""

    def __init__(self, classes=4):
        super().__init__()
        self.stem, self.stage1, self.stage2 = block(2, 6, dims=1), block(6, 8, 2, 1), block(8, 10, 2, 1)
        self.head = nn.Linear(10, classes)

    def forward(self, x):
        return self.head(self.stage2(self.stage1(self.stem(x))).mean(2))


class Words(nn.Module):
    """An embedding and attention, where 0 is padding."""

    def __init__(self, words=12, classes=4, depth=4):
        super().__init__()
        self.embedding = nn.Embedding(words, 16)
        self.encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 2, 32, batch_first=True), depth)
        self.head = nn.Linear(16, classes)

    def forward(self, x):
        return self.head(self.encoder(self.embedding(x), src_key_padding_mask=x == 0)[:, 0])


class Split(nn.Module):
    """Two resolutions of one."""

    def forward(self, x):
        return [x, x[..., ::2, ::2]]


class Branches(nn.Module):
    """Two resolutions side by side."""

    def __init__(self):
        super().__init__()
        self.act = nn.ReLU()

    def forward(self, parts):
        return [self.act(part) for part in parts]
