"""Real digits, noisy so that they are not too easy, and a small network."""

from functools import lru_cache

import lightning.pytorch as lightning
import pytorch_lightning
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

FAST = {"max_epochs": 3, "accelerator": "cpu"}


@lru_cache
def rows():
    x, y = load_digits(return_X_y=True)
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(1))
    return (torch.tensor(x / 16, dtype=torch.float32) + 0.3 * noise)[order], torch.tensor(y)[order]


def part(first, last):
    x, y = rows()
    return TensorDataset(x[first:last], y[first:last])


def train(number=300):
    return part(0, number)


def val():
    return part(1000, 1300)


def network(base):
    class Net(base):
        def __init__(self, units=16):
            super().__init__()
            self.net = nn.Sequential(nn.Linear(64, units), nn.ReLU(), nn.Dropout(0.1), nn.Linear(units, 10))

        def forward(self, x):
            return self.net(x)

        def training_step(self, batch, batch_idx):
            return F.cross_entropy(self(batch[0]), batch[1])

        def validation_step(self, batch, batch_idx):
            self.log("val/loss", F.cross_entropy(self(batch[0]), batch[1]))

        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters(), 3e-3)

    return Net


Net = network(lightning.LightningModule)
OtherNet = network(pytorch_lightning.LightningModule)


class Digits(lightning.LightningDataModule):
    """Splits at random in ``setup``."""

    def setup(self, stage):
        self.parts = torch.utils.data.random_split(part(0, 400), [300, 100])

    def train_dataloader(self):
        return DataLoader(self.parts[0], 32, shuffle=True)

    def val_dataloader(self):
        return DataLoader(self.parts[1], 50)


def state(path):
    return torch.load(path, weights_only=True)["state_dict"]


def states_equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def logits(path, x):
    net = Net()
    net.load_state_dict(state(path))
    with torch.no_grad():
        return net.eval()(x).double()
