"""Three small networks on scikit-learn's digits, compared as papers do: how good each is, and what it costs.

    python examples/compare.py [--epochs 15] [--folder posttrain_compare]

Each run leaves its figures in its folder. From these comes the table: accuracy with its 95 % interval, parameters,
layers, FLOPs, latency and training time, and who is on the front of each cost.
"""

from __future__ import annotations

import argparse
from itertools import pairwise
from pathlib import Path

import torch
from lightning.pytorch import LightningModule, Trainer, seed_everything
from lightning.pytorch.loggers import TensorBoardLogger
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from lightning_posttrain import ClassificationMetrics, FeatureMaps, ModelProfile
from lightning_posttrain.profile import pareto

Batch = tuple[Tensor, Tensor]


class Patches(nn.Module):
    """Cuts 8 × 8 pixels into 16 patches, and gives each an embedding and a place."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.cut = nn.Conv2d(1, width, 2, stride=2)
        self.place = nn.Parameter(0.5 * torch.randn(1, 16, width))

    def forward(self, images: Tensor) -> Tensor:
        found: Tensor = self.cut(images).flatten(2).mT + self.place
        return found


class Mean(nn.Module):
    """The mean over all patches."""

    def forward(self, tokens: Tensor) -> Tensor:
        return tokens.mean(1)


def mlp() -> nn.Module:
    """Two layers that see all pixels at once."""
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))


def cnn() -> nn.Module:
    """Three convolutions with normalisation, at 8 × 8, 4 × 4 and 2 × 2."""
    widths, layers = (1, 16, 32, 64), list[nn.Module]()
    for before, after in pairwise(widths):
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(64, 10))


def vit() -> nn.Module:
    """A transformer over 16 patches."""
    layer = nn.TransformerEncoderLayer(48, 4, 96, dropout=0.0, batch_first=True, norm_first=True)
    encoder = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)
    return nn.Sequential(Patches(48), encoder, Mean(), nn.LayerNorm(48), nn.Linear(48, 10))


class Classifier(LightningModule):
    """Any network that gives ten logits."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.net(images)
        return logits

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        return F.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self.log("val/loss", F.cross_entropy(self(batch[0]), batch[1]))

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self.log("test/loss", F.cross_entropy(self(batch[0]), batch[1]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=4e-3)


def digit_loaders() -> list[DataLoader[tuple[Tensor, ...]]]:
    """Loaders of 900 digits to train, 397 to validate and 500 to test."""
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    parts = torch.split(order, [900, 397, 500])
    data = [TensorDataset(images[rows], torch.tensor(digits.target)[rows]) for rows in parts]
    return [DataLoader(part, batch_size=64, shuffle=i == 0) for i, part in enumerate(data)]


def run(name: str, net: nn.Module, folder: Path, epochs: int) -> str:
    """Train and test a network; the folder of its run."""
    train, val, test = digit_loaders()
    profile = ModelProfile(target={"val/accuracy": 0.9})
    trainer = Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        callbacks=[ClassificationMetrics(), profile, FeatureMaps()],
        logger=TensorBoardLogger(folder, name=name),
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
        log_every_n_steps=5,
    )
    trainer.fit(Classifier(net), train, val)
    trainer.test(trainer.lightning_module, test, verbose=False)
    print(f"\n{name}\n{profile.results['test']}")
    return trainer.log_dir or ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--folder", type=Path, default=Path("posttrain_compare"))
    arguments = parser.parse_args()

    torch.set_num_threads(1)  # threads of so small a network wait for each other
    folders = []
    for name, make in (("mlp", mlp), ("cnn", cnn), ("vit", vit)):
        seed_everything(0, verbose=False)
        folders.append(run(name, make(), arguments.folder, arguments.epochs))

    found = pareto(folders)
    print(f"\n{found}\n")
    print(f"Picture and table: {found.save(arguments.folder / 'compared')}")
    print(f"Look at it: tensorboard --logdir {arguments.folder}")


if __name__ == "__main__":
    main()
