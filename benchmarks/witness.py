"""What it costs to hear what a step gives to its losses and metrics.

    python benchmarks/witness.py [--rounds 7] [--before FOLDER]

All times are medians over interleaved rounds in one process, one thread, as ratios. An evaluation is
`trainer.validate` with `ConfusionMatrix`, long less short, so that what an epoch costs once falls out. ``--before`` is
a checkout of another release, which is timed in a process of its own that waits for its turn in each round.
"""

from __future__ import annotations

import argparse
import logging
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

if "--serve" not in sys.argv:
    sys.path.insert(0, str(Path(__file__).parents[1]))
from lightning.pytorch import LightningModule, Trainer

from lightning_posttrain import ConfusionMatrix

CLASSES, SIZE, SHORT, LONG = 10, 32, 10, 110
Work = Callable[[], float]


def small_cnn() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 225, 32))


def of_20_layers() -> nn.Module:
    blocks = [part for _ in range(18) for part in (nn.Conv2d(16, 16, 3, 1, 1), nn.BatchNorm2d(16), nn.ReLU())]
    return nn.Sequential(nn.Conv2d(3, 16, 3, 2), *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 32))


NETWORKS = {"small CNN": small_cnn, "20 layers": of_20_layers}


class Step(LightningModule):
    """Its head is a module, whose call is then all that is heard, or a function, for which listening stays on."""

    def __init__(self, network: nn.Module, head: str, returns: str) -> None:
        super().__init__()
        self.network, self.last, self.head, self.returns = network, nn.Linear(32, CLASSES), head, returns

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        hidden = self.network(x)
        return self.last(hidden) if self.head == "module" else F.linear(hidden, self.last.weight, self.last.bias)

    def validation_step(self, batch: Any, batch_idx: int) -> Any:
        logits = self.logits(batch[0])
        loss = F.cross_entropy(logits, batch[1])
        return {"loss": loss, "logits": logits} if self.returns == "logits" else loss


def a_batch(network: str, head: str, returns: str, *, ours: bool) -> float:
    """Milliseconds of a batch of validation."""
    torch.manual_seed(0)
    module = Step(NETWORKS[network](), head, returns)
    data = TensorDataset(torch.randn(SIZE * LONG, 3, 32, 32), torch.randint(CLASSES, (SIZE * LONG,)))
    seconds = []
    for batches in (SHORT, LONG):
        trainer = Trainer(
            accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
            enable_model_summary=False, limit_val_batches=batches, callbacks=[ConfusionMatrix()] if ours else [],
        )  # fmt: skip
        begin = time.perf_counter()
        trainer.validate(module, DataLoader(data, SIZE), verbose=False)
        seconds.append(time.perf_counter() - begin)
    return (seconds[1] - seconds[0]) / (LONG - SHORT) * 1e3


class Before:
    """Another release in a process that works when it is asked to."""

    def __init__(self, folder: str) -> None:
        environment = {**os.environ, "PYTHONPATH": folder}
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--serve"], env=environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip

    def __call__(self, *case: str) -> float:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("|".join(case) + "\n")
        self._process.stdin.flush()
        return float(self._process.stdout.readline())

    def close(self) -> None:
        self._process.communicate()


def serve() -> None:
    """Time the cases that come in, in this release."""
    for line in sys.stdin:
        print(a_batch(*line.strip().split("|"), ours=True), flush=True)  # type: ignore[misc]


def interleaved(works: dict[str, Work], rounds: int) -> dict[str, float]:
    """Medians of what each says, one after the other in every round, the first of which warms up."""
    found: dict[str, list[float]] = {name: [] for name in works}
    for number in range(rounds + 1):
        for name, work in works.items():
            value = work()
            if number:
                found[name].append(value)
    return {name: median(values) for name, values in found.items()}


def a_call(rounds: int) -> None:
    """Microseconds that a call of a function takes longer while it is heard."""
    from lightning_posttrain.core.capture.witness import Witness

    x, count, witness = torch.randn(4, 4), 20_000, Witness()
    y = torch.arange(4)

    def calls(run: Callable[[], Any], parts: Any) -> float:
        if parts is not None:
            witness.begin(nn.Module(), parts)
        begin = time.perf_counter()
        for _ in range(count):
            run()
        taken = (time.perf_counter() - begin) / count * 1e6
        witness.take()
        return taken

    for name, run in (("add", lambda: torch.add(x, x)), ("softmax", lambda: x.softmax(1))):
        found = interleaved(
            {
                "alone": lambda run=run: calls(run, None),
                "heard": lambda run=run: calls(run, {("x",): x}),
                "heard, with class targets": lambda run=run: calls(run, {("x",): x, ("y",): y}),
            },
            rounds,
        )
        said = ", ".join(f"{k} +{v - found['alone']:.1f} us" for k, v in found.items() if k != "alone")
        print(f"{name}: alone {found['alone']:.1f} us, {said}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--before", default="", help="checkout of another release")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    for name in ("lightning.pytorch", "lightning.pytorch.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.ERROR)
    if arguments.serve:
        serve()
        return
    print(f"torch {torch.__version__}, cpu, one thread")
    a_call(arguments.rounds)
    before = Before(arguments.before) if arguments.before else None
    for network in NETWORKS:
        works: dict[str, Work] = {
            "without us": lambda n=network: a_batch(n, "module", "loss", ours=False),
            "returns logits": lambda n=network: a_batch(n, "module", "logits", ours=True),
            "heard, source known": lambda n=network: a_batch(n, "module", "loss", ours=True),
            "functional head, without us": lambda n=network: a_batch(n, "function", "loss", ours=False),
            "functional head, heard in each step": lambda n=network: a_batch(n, "function", "loss", ours=True),
        }
        if before is not None:
            works["before, returns logits"] = lambda n=network: before(n, "module", "logits")
            works["before, scores found by shape"] = lambda n=network: before(n, "module", "loss")
        found = interleaved(works, arguments.rounds)
        print(f"\n{network}: a batch of {SIZE}")
        for name, value in found.items():
            print(f"{name:38}{value:8.3f} ms{value / found['without us']:8.2f}")
    if before is not None:
        before.close()


if __name__ == "__main__":
    main()
