"""Small modules and loaders as users write them, and Trainers that say little."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, TensorDataset

CLASSES = 4
STYLES = ("loss", "dict", "none")
CALLS = ("self(x)", "self.model(x)", "self.forward(x)", "inline")


def images(rows: int = 37, classes: int = CLASSES, seed: int = 0) -> TensorDataset:
    generator = torch.Generator().manual_seed(seed)
    target = torch.randint(classes, (rows,), generator=generator)
    pictures = torch.rand(rows, 1, 8, 8, generator=generator)
    pictures[torch.arange(rows), 0, target] += 0.6  # a bright line in the row of the class
    return TensorDataset(pictures, target)


def ran(module: str, *arguments: str, timeout: float) -> subprocess.CompletedProcess[str]:
    """A module that ran to its end in a process of its own."""
    run = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    return run


def loader(data: Dataset[Any] | None = None, batch_size: int = 10, **options: Any) -> DataLoader[Any]:
    return DataLoader(images() if data is None else data, batch_size=batch_size, **options)


class Net(LightningModule):
    """A CNN with dropout and batch normalisation whose steps return, and call the network, in a given style."""

    def __init__(self, style: str = "loss", call: str = "self(x)", classes: int = CLASSES) -> None:
        super().__init__()
        self.style, self.call = style, call
        self.model = nn.Sequential(
            nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout(0.2), nn.Flatten(),
            nn.Linear(6 * 64, classes),
        )  # fmt: skip

    def forward(self, x):
        return self.model(x)

    def logits(self, x):
        if self.call == "self(x)":
            return self(x)
        return self.forward(x) if self.call == "self.forward(x)" else self.model(x)

    def step(self, batch, stage):
        x, y = batch
        logits = self.logits(x)
        loss = F.cross_entropy(logits, y)
        self.log(f"{stage}/loss", loss)
        return {"loss": loss, "dict": {"loss": loss, "logits": logits}, "none": None}[self.style]

    def training_step(self, batch, batch_idx):
        x, y = batch
        return F.cross_entropy(self.logits(x), y)

    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        return self.step(batch, "val")

    def test_step(self, batch, batch_idx, dataloader_idx=0):
        return self.step(batch, "test")

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9)


class Inline(Net):
    """A multilayer perceptron whose step calls its layers one by one, with functions between them."""

    def __init__(self, style: str = "loss") -> None:
        super().__init__(style)
        self.model = None
        self.hidden = nn.Linear(64, 16)
        self.out = nn.Linear(16, CLASSES)

    def logits(self, x):
        return self.out(F.relu(self.hidden(x.flatten(1))))

    def forward(self, x):
        return self.logits(x)


def make(style: str = "loss", call: str = "self(x)") -> Net:
    return Inline(style) if call == "inline" else Net(style, call)


def quiet(callbacks: Any = None, **options: Any) -> Trainer:
    """A Trainer on the CPU that shows no bar and keeps no checkpoint."""
    defaults = {
        "accelerator": "cpu",
        "logger": False,
        "max_epochs": 1,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    return Trainer(callbacks=callbacks, **{**defaults, **options})


@torch.no_grad()
def predictions(module: LightningModule, data: TensorDataset) -> tuple[Any, Any]:
    """Actual and predicted classes, collected by hand."""
    module.eval()
    x, y = data.tensors
    return y.numpy(), module(x).argmax(1).numpy()
