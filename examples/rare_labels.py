"""Choose thresholds for labels that are rare: which digit is it, as ten yes-or-no questions about a blurred picture.

    python examples/rare_labels.py [--epochs 30] [--folder posttrain_demo]

Each label is there in one picture of ten, so at 0.5 a cautious network says yes too seldom. Thresholds are chosen on
validation, for F1, and applied on test; so is what mends the probabilities.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from lightning.pytorch import LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from lightning_posttrain import Calibration, DecisionThresholds

Batch = tuple[Tensor, Tensor]


class TenQuestions(LightningModule):
    """A linear network: 16 blurred pixels in, ten log-odds out."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.AvgPool2d(2), nn.Flatten(), nn.Linear(16, 10))

    def forward(self, images: Tensor) -> Tensor:
        log_odds: Tensor = self.net(images)
        return log_odds

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        return F.binary_cross_entropy_with_logits(self(batch[0]), batch[1].float())

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self.log("val/loss", F.binary_cross_entropy_with_logits(self(batch[0]), batch[1].float()))

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self(batch[0])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=2e-2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--folder", type=Path, default=Path("posttrain_demo"))
    arguments = parser.parse_args()

    seed_everything(0, verbose=False)
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16
    labels = F.one_hot(torch.tensor(digits.target), 10)
    order = torch.randperm(len(images))
    parts = [TensorDataset(images[part], labels[part]) for part in torch.split(order, [797, 500, 500])]
    train, val, test = (DataLoader(part, batch_size=64, shuffle=i == 0) for i, part in enumerate(parts))

    names = [f"it is a {digit}" for digit in range(10)]
    thresholds = DecisionThresholds(task="multilabel", class_names=names)
    calibration = Calibration(method=["temperature", "platt"], task="multilabel", class_names=names)
    best = ModelCheckpoint(monitor="val/loss")
    trainer = Trainer(
        max_epochs=arguments.epochs,
        accelerator="cpu",
        callbacks=[thresholds, calibration, best],
        logger=TensorBoardLogger(arguments.folder, name="rare_labels"),
        enable_model_summary=False,
        enable_progress_bar=False,
        log_every_n_steps=5,
    )
    model = TenQuestions()
    trainer.fit(model, train, val)
    trainer.test(model, test, ckpt_path="best", verbose=False)

    result = thresholds.results["test"]
    assert result.tuned is not None
    low, high = result.gain_interval
    print(f"\nmacro F1 on test at 0.5                {result.default.value:.3f}")
    print(f"macro F1 on test at chosen thresholds  {result.tuned.value:.3f}")
    print(f"gain                                   {result.gain:.3f} (95 % interval {low:.3f} to {high:.3f})")
    print(f"Pictures: {Path(trainer.log_dir or '').resolve() / 'posttrain/test'}")


if __name__ == "__main__":
    main()
