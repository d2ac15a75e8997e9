"""What the suite adds to a fit under several budgets, and what of it keeps to them.

    python benchmarks/overhead.py [--device cuda] [--epochs 30] [--rounds 3] [--only bare 0.05]

A fit whose epochs are a few steps of training and a validation: on a CPU a ResNet-18 over 512 images of 32 px and 10
classes; on a GPU a ResNet-50 in bf16 over 15,000 images of 224 px and 1,000 classes that lie on the device. Seconds of
the wall, as medians over interleaved rounds in one process, over those of the bare trainer; and from the run's own
record what pictures, tables, intervals and explanations took of it. What a fit explains at its end, and what it waits
for until all is drawn, are in the seconds; ``max_overhead`` does not count these.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from lightning_posttrain import ClassificationMetrics, ConfusionMatrix, posttrain_suite

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.accumulate import resnet18


class Size(NamedTuple):
    """What is validated: so many images of a side, classes, rows at a time, and batches of training before."""

    rows: int
    side: int
    classes: int
    batch: int
    steps: int


CPU, GPU = Size(512, 32, 10, 64, 4), Size(15_000, 224, 1_000, 256, 4)


class Bottleneck(nn.Module):
    """A block of a ResNet-50."""

    def __init__(self, come: int, width: int, stride: int) -> None:
        super().__init__()
        out = 4 * width
        self.body = nn.Sequential(
            nn.Conv2d(come, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, out, 1, bias=False), nn.BatchNorm2d(out),
        )  # fmt: skip
        plain = come == out and stride == 1
        short = [nn.Conv2d(come, out, 1, stride, bias=False), nn.BatchNorm2d(out)]
        self.short = nn.Identity() if plain else nn.Sequential(*short)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.body(x) + self.short(x))


def resnet50(classes: int) -> nn.Module:
    """He et al., 2016, doi:10.1109/CVPR.2016.90."""
    blocks, come = [], 64
    for width, count, stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
        for number in range(count):
            blocks.append(Bottleneck(come, width, stride if number == 0 else 1))
            come = 4 * width
    return nn.Sequential(
        nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1), *blocks,
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(come, classes),
    )  # fmt: skip


class Classifier(LightningModule):
    """A network and its loss."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def training_step(self, batch: tuple[Tensor, Tensor], _batch_idx: int) -> Tensor:
        return F.cross_entropy(self.net(batch[0]), batch[1])

    def validation_step(self, batch: tuple[Tensor, Tensor], _batch_idx: int) -> None:
        self.log("loss", F.cross_entropy(self.net(batch[0]), batch[1]))

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.01)


class Batches(Dataset[tuple[Tensor, Tensor]]):
    """Whole batches that lie on the device: the same images again and again, each with its own labels."""

    def __init__(self, size: Size, rows: int, device: str) -> None:
        generator = torch.Generator().manual_seed(0)
        target = torch.randint(size.classes, (rows,), generator=generator)
        images = torch.randn(min(rows, size.batch), 3, size.side, size.side, generator=generator)
        self.images, self.targets = images.to(device), target.to(device).split(size.batch)

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, place: int) -> tuple[Tensor, Tensor]:
        if place >= len(self):
            raise IndexError(place)
        return self.images[: len(self.targets[place])], self.targets[place]


class Taken(NamedTuple):
    """Seconds of a fit; of them what optional work took; evaluations, and how many of them were without."""

    seconds: float
    optional: float
    evaluations: int
    left_out: int


def fit(callbacks: Sequence[Any], size: Size, device: str, epochs: int) -> Taken:
    """What a fit takes."""
    torch.manual_seed(0)
    net = resnet50(size.classes) if device == "cuda" else resnet18(size.classes)
    train, val = (
        DataLoader(Batches(size, rows, device), batch_size=None) for rows in (size.steps * size.batch, size.rows)
    )
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            accelerator="gpu" if device == "cuda" else "cpu", devices=1, max_epochs=epochs, callbacks=list(callbacks),
            precision="bf16-mixed" if device == "cuda" else "32-true", default_root_dir=folder, logger=False,
            enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        )  # fmt: skip
        began = time.perf_counter()
        trainer.fit(Classifier(net), train, val)
        if device == "cuda":
            torch.cuda.synchronize()
        seconds = time.perf_counter() - began
        record = Path(folder, "posttrain", "fit", "overhead.json")
        found = json.loads(record.read_text(encoding="utf-8")) if record.exists() else {}
    return Taken(seconds, *(found.get(name, 0) for name in ("optional", "evaluations", "left_out")))


SETS: dict[str, Callable[[], Sequence[Any]]] = {
    "bare": list,
    "counts": lambda: [ConfusionMatrix(), ClassificationMetrics(resamples=0, curves=False)],
    "0.05": partial(posttrain_suite, max_overhead=0.05),
    "0.1": partial(posttrain_suite, max_overhead=0.1),
    "None": partial(posttrain_suite, max_overhead=None),
}
"""Callbacks: none, what counts and draws no interval, the suite with a budget."""


def compared(device: str, epochs: int, rounds: int, chosen: Sequence[str]) -> dict[str, Taken]:
    """Medians over interleaved rounds, by set."""
    found: dict[str, list[Taken]] = {name: [] for name in chosen}
    for _ in range(rounds):
        for name in chosen:
            found[name].append(fit(SETS[name](), GPU if device == "cuda" else CPU, device, epochs))
    return {name: Taken(*(median(part) for part in zip(*taken, strict=True))) for name, taken in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="*", choices=list(SETS), default=list(SETS))
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    device = arguments.device
    fit(posttrain_suite(), GPU if device == "cuda" else CPU, device, 1)  # warms up
    taken = compared(
        device, arguments.epochs, arguments.rounds, ["bare", *(name for name in arguments.only if name != "bare")]
    )
    bare = taken["bare"].seconds
    print(
        f"| {arguments.epochs} epochs, {device} | seconds | over bare | optional work, of bare | evaluations with it |"
    )
    print("|---|---|---|---|---|")
    for name, one in taken.items():
        having = f"{one.evaluations - one.left_out:.0f} of {one.evaluations:.0f}" if one.evaluations else ""
        share = f"{one.optional / bare:.1%}" if one.optional else ""
        said = name if name in ("bare", "counts") else f"`posttrain_suite(max_overhead={name})`"
        print(f"| {said} | {one.seconds:.1f} | {one.seconds / bare - 1:+.1%} | {share} | {having} |")


if __name__ == "__main__":
    main()
