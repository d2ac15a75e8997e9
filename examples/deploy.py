"""From a fit to a served answer, on scikit-learn's digits: what is shipped gives the answers that were tested.

    python examples/deploy.py [--epochs 5] [--folder posttrain_deploy]

The best checkpoint is exported with its temperature and the confidence below which it gives no answer. The test runs
the exported files beside the module. Then a server of its own answers for the folder, until it is told to end.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from lightning_posttrain import Calibration, ClassificationMetrics, DecisionThresholds, ModelExport
from lightning_posttrain.export import load

MEAN, STD = 0.3, 0.35

Batch = tuple[Tensor, Tensor]


class DigitsNet(LightningModule):
    """Two convolutions, a dropout and a linear layer; 8 × 8 pixels in, ten logits out."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(1, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(),
            nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Dropout(0.3), nn.Linear(64 * 16, 10),
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

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=2e-3)


def digit_loaders() -> list[DataLoader[tuple[Tensor, ...]]]:
    """Loaders of 900 digits to train, 397 to validate and 500 to test, normalised."""
    digits = load_digits()
    images = (torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16 - MEAN) / STD
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    parts = torch.split(order, [900, 397, 500])
    data = [TensorDataset(images[rows], torch.tensor(digits.target)[rows]) for rows in parts]
    return [DataLoader(part, batch_size=64, shuffle=i == 0) for i, part in enumerate(data)]


def ask(address: str, row: np.ndarray[Any, Any]) -> str:
    """What a server says of one row."""
    request = urllib.request.Request(f"{address}/predict", json.dumps({"row": row.tolist()}).encode())
    with urllib.request.urlopen(request, timeout=30) as answer:
        said = json.load(answer)
    return f"{said['label'] or 'no answer'}, with probability {max(said['probabilities']):.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=Path("posttrain_deploy"))
    arguments = parser.parse_args()

    torch.set_num_threads(1)  # threads of so small a network wait for each other
    seed_everything(0, verbose=False)
    train, val, test = digit_loaders()
    digits = [f"digit {number}" for number in range(10)]

    # the images that are served are as they come, from 0 to 1: their normalisation is in the graph
    export = ModelExport(formats=["onnx", "pt2", "safetensors"], mean=[MEAN], std=[STD], class_names=digits)
    trainer = Trainer(
        max_epochs=arguments.epochs,
        accelerator="cpu",
        callbacks=[
            ClassificationMetrics(class_names=digits),
            Calibration(),
            DecisionThresholds(max_risk=0.005),
            export,
            ModelCheckpoint(monitor="val/loss"),
        ],
        logger=TensorBoardLogger(arguments.folder, name="digits"),
        enable_model_summary=False,
        enable_progress_bar=False,
        log_every_n_steps=5,
    )
    trainer.fit(DigitsNet(), train, val)
    trainer.test(ckpt_path="best", dataloaders=test, verbose=False)
    print(f"\n{export.results['test']}\n")

    # in the program that answers: NumPy and onnxruntime, no torch
    folder = Path(trainer.log_dir or "") / "posttrain" / "export"
    model = load(folder)
    images = load_digits().images[:5, None].astype(np.float32) / 16
    print(f"{model(images)}\n")

    # or a server, which answers all that it has accepted before it ends
    command = [sys.executable, "-m", "lightning_posttrain", "serve", str(folder), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        ready = server.stdout.readline().strip()  # the last word is the address
        print(f"{ready}\nIt says: {ask(ready.split()[-1], images[0])}")
        server.send_signal(signal.SIGTERM)
        print(f"{server.stdout.read().strip()}, exit code {server.wait()}\n")
    print(f"Serve it: lightning-posttrain serve {folder}")


if __name__ == "__main__":
    main()
