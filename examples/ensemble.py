"""Combine networks that read noisy digits of scikit-learn, and ask whether that is worth it.

    python examples/ensemble.py [--epochs 24] [--members 6] [--folder posttrain_ensemble]

First the best checkpoints of one run, then one network from each of several seeds. Every way to combine them is fitted
on validation, and reported on test beside the best member alone.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from lightning_posttrain import CheckpointEnsemble, HardExamples
from lightning_posttrain.ensembles import EnsembleNetwork, Seeds

NOISE = 0.35

Batch = tuple[Tensor, Tensor]


class NoisyDigitsNet(LightningModule):
    """Two convolutions and a linear layer; 8 × 8 pixels in, ten logits out."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(1, 32, 3, padding=1), nn.GroupNorm(4, 32), nn.ReLU(),
            nn.Conv2d(32, 64, 3, padding=1), nn.GroupNorm(4, 64), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Dropout(0.2), nn.Linear(64 * 16, 10),
        )  # fmt: skip

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.net(images)
        return logits

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        return F.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self.log("val/loss", F.cross_entropy(self(batch[0]), batch[1]))

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self.log("test/loss", F.cross_entropy(self(batch[0]), batch[1]))

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.parameters(), lr=3e-3, weight_decay=0.05)
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]


def noisy_loaders() -> list[DataLoader[tuple[Tensor, ...]]]:
    """Loaders of 300 digits to train, 1,120 to validate, as many as stacking wants, and 377 to test."""
    digits = load_digits()
    images, target = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16, torch.tensor(digits.target)
    generator = torch.Generator().manual_seed(0)
    noisy = images + NOISE * torch.randn(images.shape, generator=generator)
    parts = torch.split(torch.randperm(len(target), generator=generator), [300, 1120, 377])
    data = [TensorDataset(noisy[rows], target[rows]) for rows in parts]
    return [DataLoader(part, batch_size=32, shuffle=i == 0) for i, part in enumerate(data)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=24)
    parser.add_argument("--members", type=int, default=6)
    parser.add_argument("--folder", type=Path, default=Path("posttrain_ensemble"))
    arguments = parser.parse_args()

    torch.set_num_threads(1)  # threads of so small a network wait for each other
    seed_everything(0, verbose=False)
    train, val, test = noisy_loaders()

    # the best checkpoints of one run: fitted when the fit ends, judged by the test
    of_one_run = CheckpointEnsemble(soups=True, folds=10)
    trainer = Trainer(
        max_epochs=arguments.epochs,
        accelerator="cpu",
        callbacks=[of_one_run, ModelCheckpoint(monitor="val/loss", save_top_k=arguments.members)],
        logger=TensorBoardLogger(arguments.folder, name="one_run"),
        enable_model_summary=False,
        enable_progress_bar=False,
        log_every_n_steps=5,
    )
    model = NoisyDigitsNet()
    trainer.fit(model, train, val)
    trainer.test(model, test, verbose=False)
    print(f"\nCheckpoints of one run, on test\n\n{of_one_run.results['test']}\n")

    # a network from each seed: finished members are found again, so that this can be stopped and started
    runs = Seeds(NoisyDigitsNet, members=arguments.members, monitor="val/loss").fit(
        train, val, folder=arguments.folder / "seeds", max_epochs=arguments.epochs, accelerator="cpu"
    )
    print(f"\n{runs}")
    of_seeds = CheckpointEnsemble(members=runs.members, soups=True, folds=10, then=[HardExamples()])
    judge = Trainer(
        accelerator="cpu",
        callbacks=[of_seeds],
        logger=TensorBoardLogger(arguments.folder, name="seeds_judged"),
        enable_progress_bar=False,
    )
    judge.validate(model, val, verbose=False)
    judge.test(model, test, verbose=False)
    print(f"\nNetworks of {arguments.members} seeds, on test\n\n{of_seeds.results['test']}\n")

    # what was chosen, as one module and one file
    path = Path(judge.log_dir or "").resolve() / "ensemble.pt"
    of_seeds.network(model).save(path)
    network = EnsembleNetwork.load(path, NoisyDigitsNet())
    images, digits = next(iter(test))
    with torch.no_grad():
        chances = network(images[:1]).softmax(1)[0]
    print(f"{path} says {int(chances.argmax())} with {float(chances.max()):.0%}, and it is a {int(digits[0])}")

    folder = path.parent
    print(f"Pictures, tables and figures: {folder / 'posttrain'}")
    print(f"To look at them: tensorboard --logdir {arguments.folder.resolve()} --samples_per_plugin images=100")


if __name__ == "__main__":
    main()
