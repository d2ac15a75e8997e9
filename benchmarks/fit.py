"""What a fit spends on explanations, beside what it spends on training: ResNet-18 at 32 px on a CPU, one thread.

    python benchmarks/fit.py [--rows 512] [--epochs 3] [--rounds 3] [--only bare suite]

CPU seconds of a whole fit and of a test, drawing and files included, as medians over interleaved rounds in one process,
and the fit's over those of the first set, which is the bare trainer.
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
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from lightning_posttrain import Explanations, SaliencyMaps, posttrain_suite

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.accumulate import resnet18

CLASSES, SIDE, BATCH = 10, 32, 32


class Classifier(LightningModule):
    """A ResNet-18 and its loss."""

    def __init__(self) -> None:
        super().__init__()
        self.net = resnet18(CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)

    def training_step(self, batch: tuple[Tensor, Tensor], _batch_idx: int) -> Tensor:
        return F.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch: tuple[Tensor, Tensor], _batch_idx: int) -> None:
        self.log("loss", F.cross_entropy(self(batch[0]), batch[1]))

    test_step = validation_step

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.01, momentum=0.9)


def images(rows: int, seed: int) -> DataLoader[Any]:
    generator = torch.Generator().manual_seed(seed)
    target = torch.randint(CLASSES, (rows,), generator=generator)
    pictures = torch.randn(rows, 3, SIDE, SIDE, generator=generator)
    pictures[torch.arange(rows), 0, 3 * target] += 2  # a line in the row of the class
    return DataLoader(TensorDataset(pictures, target), batch_size=BATCH)


def without_maps() -> list[Any]:
    return [callback for callback in posttrain_suite() if not isinstance(callback, SaliencyMaps)]


SETS: dict[str, Callable[[], Sequence[Any]]] = {
    "bare": list,
    "suite without maps": without_maps,
    "SaliencyMaps": lambda: [SaliencyMaps()],
    "suite": posttrain_suite,
    "Explanations": lambda: [Explanations()],
}


def seconds(callbacks: Sequence[Any], rows: int, epochs: int) -> tuple[float, float]:
    """CPU seconds of a fit and of a test."""
    torch.manual_seed(0)
    net, train, val = Classifier(), images(rows, 0), images(max(60, rows // 4), 1)
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            accelerator="cpu", max_epochs=epochs, callbacks=list(callbacks), default_root_dir=folder, logger=False,
            enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        )  # fmt: skip
        moments = [time.process_time()]
        trainer.fit(net, train, val)
        moments.append(time.process_time())
        trainer.test(net, val, verbose=False)
        moments.append(time.process_time())
    return moments[1] - moments[0], moments[2] - moments[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=512)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="*", default=list(SETS), choices=list(SETS))
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in arguments.only}
    with contextlib.redirect_stderr(io.StringIO()):
        for number in range(arguments.rounds + 1):
            for name in arguments.only:
                found = seconds(SETS[name](), arguments.rows, arguments.epochs)
                if number:  # the first round warms up
                    taken[name].append(found)
    print(f"| {arguments.rows} rows, {arguments.epochs} epochs | fit, CPU s | over bare | test, CPU s |")
    print("|---|---|---|---|")
    base = None
    for name, times in taken.items():
        fit, test = (median(part) for part in zip(*times, strict=True))
        base = fit if base is None else base
        print(f"| {name} | {fit:.1f} | {fit / base:.2f} | {test:.2f} |")


if __name__ == "__main__":
    main()
