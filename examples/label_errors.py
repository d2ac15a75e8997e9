"""Find wrong labels: one in twenty of the labels of scikit-learn's digits is made wrong, and found again.

    python examples/label_errors.py [--epochs 10] [--folder posttrain_demo]

Labels of training are flipped as those of validation are; of the latter the suspects are listed.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from digits import DigitsNet
from lightning.pytorch import Trainer, seed_everything
from lightning.pytorch.loggers import TensorBoardLogger
from sklearn.datasets import load_digits
from sklearn.metrics import average_precision_score
from torch.utils.data import DataLoader, TensorDataset

from lightning_posttrain import HardExamples, LabelErrors

SHARE = 0.05


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--folder", type=Path, default=Path("posttrain_demo"))
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    seed_everything(arguments.seed, verbose=False)
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16
    truth = torch.tensor(digits.target)
    order = torch.randperm(len(truth))
    images, truth = images[order], truth[order]
    flipped = torch.rand(len(truth)) < SHARE
    labels = torch.where(flipped, (truth + torch.randint(1, 10, truth.shape)) % 10, truth)

    half = len(truth) // 2
    train = DataLoader(TensorDataset(images[:half], labels[:half]), batch_size=64, shuffle=True)
    val = DataLoader(TensorDataset(images[half:], labels[half:]), batch_size=64)
    suspects = LabelErrors()
    trainer = Trainer(
        max_epochs=arguments.epochs,
        accelerator="cpu",
        callbacks=[suspects, HardExamples()],
        logger=TensorBoardLogger(arguments.folder, name="label_errors"),
        enable_model_summary=False,
        enable_progress_bar=False,
        log_every_n_steps=5,
    )
    trainer.fit(DigitsNet(), train, val)

    result = suspects.results["val"]
    assert result.errors is not None
    wrong = flipped[half:][result.index]
    found = result.errors.flagged
    precision = average_precision_score(wrong, -result.errors.score)
    print(f"\nlabels that were made wrong    {int(wrong.sum())} of {len(wrong)}")
    print(f"probable label errors          {int(found.sum())}, of which {int((found & wrong).sum())} were made wrong")
    print(f"average precision of the rank  {precision:.3f}")
    print(f"The list: {Path(trainer.log_dir or '').resolve() / 'posttrain/val/label_errors'}")


if __name__ == "__main__":
    main()
