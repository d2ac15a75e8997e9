"""What an export costs at the end of a fit, and under a test: CPU seconds, one thread.

    python benchmarks/export.py [--rounds 3]

A fit of one epoch and a test, with ``ModelExport`` and without it, one after the other in each round, medians. The test
finds the folder of the fit and runs its files beside the module on all rows; ``fresh`` is a test that has to export
first.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from lightning_posttrain import ModelExport

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.accumulate import resnet18

BATCH, ROWS = 64, 1024


class Classifier(LightningModule):
    """A network and its loss."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)

    def training_step(self, batch: tuple[Tensor, Tensor], _batch_idx: int) -> Tensor:
        return F.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch: tuple[Tensor, Tensor], _batch_idx: int) -> None:
        self.log("loss", F.cross_entropy(self(batch[0]), batch[1]))

    test_step = validation_step

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.01)


def digits_cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(),
        nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(64 * 16, 10),
    )  # fmt: skip


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "CNN, 8 px": (digits_cnn, (1, 8, 8)),
    "ResNet-18, 32 px": (lambda: resnet18(10), (3, 32, 32)),
}


def rows_of(shape: Sequence[int], seed: int) -> DataLoader[Any]:
    generator = torch.Generator().manual_seed(seed)
    pictures = torch.randn(ROWS, *shape, generator=generator)
    return DataLoader(TensorDataset(pictures, torch.randint(10, (ROWS,), generator=generator)), batch_size=BATCH)


def trainer_of(callbacks: Sequence[Any], folder: str) -> Trainer:
    return Trainer(
        max_epochs=1, accelerator="cpu", callbacks=list(callbacks), logger=False, enable_progress_bar=False,
        enable_model_summary=False, enable_checkpointing=False, default_root_dir=folder,
    )  # fmt: skip


def seconds(work: Callable[[], Any]) -> float:
    begin = time.process_time()
    with contextlib.redirect_stdout(io.StringIO()):
        work()
    return time.process_time() - begin


def one_round(build: Callable[[], nn.Module], shape: Sequence[int], formats: Sequence[str]) -> tuple[float, ...]:
    """Of a fit, of a test of its folder, and of a test without one."""
    train, val, test = (rows_of(shape, seed) for seed in range(3))
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as other:
        module = Classifier(build())
        callbacks = [ModelExport(formats=formats)] if formats else []
        trainer = trainer_of(callbacks, folder)
        fit = seconds(lambda: trainer.fit(module, train, val))
        tested = seconds(lambda: trainer.test(module, test, verbose=False))
        fresh = trainer_of([ModelExport(formats=formats)] if formats else [], other)
        return fit, tested, seconds(lambda: fresh.test(module, test, verbose=False))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    print("| beyond a bare run, CPU s | formats | at the end of the fit | a test of its folder | a test without one |")
    print("|---|---|---|---|---|")
    for name, (build, shape) in NETWORKS.items():
        one_round(build, shape, ["onnx", "pt2"])  # what is loaded and compiled once in a process
        sets: tuple[list[str], ...] = ([], ["onnx"], ["onnx", "pt2", "safetensors"])
        found = [[one_round(build, shape, formats) for formats in sets] for _ in range(rounds)]
        for number, formats in enumerate(sets[1:], start=1):
            parts = (median(of[number][part] - of[0][part] for of in found) for part in range(3))
            print(f"| {name} | {', '.join(formats)} | {' | '.join(f'{part:.1f}' for part in parts)} |", flush=True)


if __name__ == "__main__":
    main()
