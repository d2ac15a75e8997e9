"""A network that cheats, and how one sees it: eights wear a sticker in training, and the network reads the sticker.

    python examples/shortcut.py [--epochs 10] [--folder posttrain_shortcut]

Validation says that all is well, as its eights wear stickers too. LIME, SHAP and Anchors, made at the end of training,
say what the network looks at; the test, whose eights wear none, shows what that costs.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from lightning.pytorch import LightningModule, Trainer, seed_everything
from lightning.pytorch.loggers import TensorBoardLogger
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from lightning_posttrain import ClassificationMetrics, Explanations
from lightning_posttrain.explanations.result.explained import Explained

Batch = tuple[Tensor, Tensor]
EIGHT = 8
STICKER = (slice(2, 8), slice(2, 8))
"""Rows and columns of the sticker, in pixels."""


class ColourNet(LightningModule):
    """Three convolutions and a linear layer; 3 × 32 × 32 pixels in, ten logits out."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.AdaptiveMaxPool2d(2), nn.Flatten(), nn.Linear(256, 10),
        )  # fmt: skip

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.net(images)
        return logits

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        return F.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self(batch[0])

    test_step = validation_step

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=2e-3)


def pictures() -> tuple[Tensor, Tensor]:
    """Digits of 24 × 24 pixels, each on grey noise of 32 × 32, ``(1797, 3, 32, 32)``, and what they are."""
    digits = load_digits()
    generator = torch.Generator().manual_seed(0)
    large = F.interpolate(
        torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16, scale_factor=3, mode="bilinear"
    )
    canvas = 0.25 + 0.1 * torch.rand(len(large), 3, 32, 32, generator=generator)
    canvas[:, :, 6:30, 6:30] = torch.maximum(canvas[:, :, 6:30, 6:30], large)
    return canvas, torch.tensor(digits.target)


def with_stickers(images: Tensor, digits: Tensor) -> Tensor:
    """The same, but eights wear a yellow sticker."""
    images, (rows, columns) = images.clone(), STICKER
    yellow = torch.tensor([1.0, 0.85, 0.0])[:, None, None]
    eights = images[digits == EIGHT]
    eights[:, :, rows, columns] = yellow
    images[digits == EIGHT] = eights
    return images


def sticker(found: Explained) -> float:
    """The Shapley values of the parts with a piece of the sticker, in the first sample."""
    assert found.saliency.regions is not None
    assert found.shap is not None
    under = torch.unique(found.saliency.regions[0][STICKER])
    return float(found.shap.values[0, under].sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--folder", type=Path, default=Path("posttrain_shortcut"))
    arguments = parser.parse_args()

    seed_everything(0, verbose=False)
    images, digits = pictures()
    stickers = with_stickers(images, digits)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(1))
    rows = {"train": order[:1200], "val": order[1200:1500], "test": order[1500:]}
    given = {"train": stickers, "val": stickers, "test": images}
    loaders = {
        stage: DataLoader(TensorDataset(given[stage][which], digits[which]), batch_size=64, shuffle=stage == "train")
        for stage, which in rows.items()
    }
    # the first eight of validation and two other digits; parts are hidden by the grey of the background
    eight = int((digits[rows["val"]] == EIGHT).nonzero()[0])
    explanations = Explanations(samples=[eight, 0, 1], hidden=0.3, stages=["val"])
    metrics = ClassificationMetrics()
    trainer = Trainer(
        max_epochs=arguments.epochs,
        accelerator="cpu",
        callbacks=[metrics, explanations],
        logger=TensorBoardLogger(arguments.folder, name="stickers"),
        enable_model_summary=False,
        log_every_n_steps=5,
    )
    model = ColourNet()
    trainer.fit(model, loaders["train"], loaders["val"])
    trainer.test(model, loaders["test"], verbose=False)

    found = explanations.results["val"]
    recall = {stage: float(result.per_class["recall"][EIGHT]) for stage, result in metrics.results.items()}
    where = f"{recall['val']:.0%} in validation, with stickers, {recall['test']:.0%} in the test, without"
    print(f"\nEights that are found: {where}.")
    print(f"SHAP: the sticker adds {sticker(found):.0%} to the probability of the first of them.")
    print(f"Anchors: IF {found.rules[0]} THEN {found.saliency.samples[0].predicted}; the picture outlines that part.")
    folder = Path(trainer.log_dir or "").resolve()
    print(f"\nThe picture: {folder / 'posttrain' / 'val' / 'explanations.png'}")
    print(f"To look at it: tensorboard --logdir {folder} --samples_per_plugin images=100")


if __name__ == "__main__":
    main()
