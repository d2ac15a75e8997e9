"""Train a small CNN on scikit-learn's handwritten digits and look at what comes out.

    python examples/digits.py [--epochs 12] [--folder posttrain_demo]

The module below knows nothing of the evaluation: its ``validation_step`` only logs a loss.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer, seed_everything
from lightning.pytorch.loggers import TensorBoardLogger
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset, random_split

from lightning_posttrain import GeneralizationGap, posttrain_suite

Batch = tuple[Tensor, Tensor]


class DigitsNet(LightningModule):
    """Three convolutions, an average over the picture and a linear layer; 8 × 8 pixels in, ten logits out."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(),
            nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(),
            nn.Conv2d(64, 128, 3, padding=1), nn.BatchNorm2d(128), nn.ReLU(),
        )  # fmt: skip
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(128, 10))

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.features(images))
        return logits

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        images, digits = batch
        return F.cross_entropy(self(images), digits)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        images, digits = batch
        self.log("val/loss", F.cross_entropy(self(images), digits))

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        images, digits = batch
        self.log("test/loss", F.cross_entropy(self(images), digits))

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.parameters(), lr=2e-3)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, max_lr=1e-2, total_steps=int(self.trainer.estimated_stepping_batches)
        )
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]


def digits_loaders() -> list[DataLoader[tuple[Tensor, ...]]]:
    """Loaders of 1,197 digits to train, 300 to validate and 300 to test."""
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16
    data = TensorDataset(images, torch.tensor(digits.target))
    parts = random_split(data, [1197, 300, 300], generator=torch.Generator().manual_seed(0))
    return [DataLoader(part, batch_size=64, shuffle=i == 0) for i, part in enumerate(parts)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--folder", type=Path, default=Path("posttrain_demo"))
    arguments = parser.parse_args()

    seed_everything(0, verbose=False)
    train, val, test = digits_loaders()
    suite = posttrain_suite()
    trainer = Trainer(
        max_epochs=arguments.epochs,
        accelerator="cpu",
        callbacks=[*suite, GeneralizationGap()],
        logger=TensorBoardLogger(arguments.folder, name="digits"),
        enable_model_summary=False,
        log_every_n_steps=5,
    )
    model = DigitsNet()
    trainer.fit(model, train, val)
    trainer.test(model, test, verbose=False)

    folder = Path(trainer.log_dir or "").resolve()
    print(f"\n{suite[0].results['test']}\n")
    print(f"Pictures, tables and figures: {folder / 'posttrain'}")
    print(f"To watch them over the epochs: tensorboard --logdir {folder} --samples_per_plugin images=100")


if __name__ == "__main__":
    main()
