"""What callbacks cost where there are many classes, many rows or many pixels: CPU seconds and peak memory.

    python benchmarks/size.py [--case many|rows|pixels|"more pixels"] [--only NAME ...] [--rounds 3]

Each callback is alone in a process of its own, which runs `trainer.validate` (a fit where the callback wants one) in
one thread. What is said is over the same process without a callback, medians over interleaved rounds. A process that
wants more than 12 GB of address space dies, and is said to.
"""

from __future__ import annotations

import argparse
import json
import logging
import resource
import subprocess
import sys
import time
import warnings
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

LIMIT = 12 << 30
CASES = {
    "many": "100,000 classes, 512 rows",
    "rows": "1,000 classes, 50,000 rows",
    "pixels": "21 classes, 16 pictures of 512 x 512",
    "more pixels": "21 classes, 48 pictures of 512 x 512",
}
SIZES = {"small": (10, 64, 32), "many": (100_000, 512, 64), "rows": (1000, 50_000, 256)}
"""Classes, rows, and rows of a batch."""
PICTURES = {"pixels": 16, "more pixels": 48}
PEER = "torchmetrics' MulticlassConfusionMatrix"
IN_A_FIT = ("GeneralizationGap", "LabelErrors")


def callbacks(name: str) -> list[Any]:
    """The callbacks of a case, each as its user would write it."""
    import lightning_posttrain as ours

    if name == "bare":
        return []
    if name == PEER:
        return [peer()]
    if name == "posttrain_suite":
        return ours.posttrain_suite()
    return [getattr(ours, name)()]


def peer() -> Any:
    """What a user would write: the metric, updated with each batch."""
    from lightning.pytorch import Callback
    from torchmetrics.classification import MulticlassConfusionMatrix

    class Peer(Callback):
        def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
            self.metric = MulticlassConfusionMatrix(pl_module.classes, validate_args=False)

        def on_validation_batch_end(
            self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
        ) -> None:
            self.metric.update(outputs["logits"], batch[1])

        def on_validation_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            self.metric.compute()

    return Peer()


def module_and_loader(case: str) -> tuple[Any, Any]:
    """A network that costs little, and its data."""
    import torch
    from lightning.pytorch import LightningModule
    from torch import nn
    from torch.nn import functional as F
    from torch.utils.data import DataLoader, TensorDataset

    class Step(LightningModule):
        def __init__(self, network: nn.Module, classes: int) -> None:
            super().__init__()
            self.network, self.classes = network, classes

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.network(x)

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            logits = self(batch[0])
            return {"loss": F.cross_entropy(logits, batch[1]), "logits": logits}

        validation_step = training_step

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), 1e-3)

    torch.manual_seed(0)
    if case in PICTURES:
        classes, size, number = 21, 512, PICTURES[case]
        images, network = torch.randn(number, 3, size, size), nn.Conv2d(3, classes, 1)
        with torch.no_grad():
            target = network(images).argmax(1) * (torch.rand(number, size, size) < 0.8)
        return Step(network, classes), DataLoader(TensorDataset(images, target), 2)
    classes, rows, batch = SIZES[case]
    features, network = torch.randn(rows, 16), nn.Linear(16, classes)
    with torch.no_grad():
        target = (3 * network(features)).softmax(1).multinomial(1)[:, 0]
    return Step(network, classes), DataLoader(TensorDataset(features, target), batch)


def measure(case: str, name: str) -> dict[str, float]:
    """Run one callback in this process: CPU seconds of all its threads, and peak megabytes."""
    resource.setrlimit(resource.RLIMIT_AS, (LIMIT, LIMIT))
    import torch

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    for logger in ("lightning.pytorch", "lightning.pytorch.utilities.rank_zero"):
        logging.getLogger(logger).setLevel(logging.ERROR)
    run("small", name)  # what is imported and made once is no cost of size
    return {"seconds": run(case, name), "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def run(case: str, name: str) -> float:
    """CPU seconds of one evaluation."""
    from lightning.pytorch import Trainer

    module, loader = module_and_loader(case)
    with TemporaryDirectory() as folder:
        trainer = Trainer(
            accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False, max_epochs=1,
            enable_model_summary=False, callbacks=callbacks(name.removeprefix("fit:")), default_root_dir=folder,
            num_sanity_val_steps=0,
        )  # fmt: skip
        begin = time.process_time()
        if name.startswith("fit:") or name in IN_A_FIT:
            trainer.fit(module, loader, loader)
        else:
            trainer.validate(module, loader, verbose=False)
        return time.process_time() - begin


def in_a_process(case: str, name: str) -> dict[str, float] | None:
    """What a process says of itself; None where it died."""
    command = [sys.executable, __file__, "--case", case, "--measure", name]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"{name} died: {done.stderr.strip().splitlines()[-1:]}", flush=True)
        return None
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def names_of(case: str) -> list[str]:
    """What is measured in a case."""
    if case in PICTURES:
        return [PEER, "ConfusionMatrix", "ClassificationMetrics", "posttrain_suite"]
    return [
        "ClassificationMetrics", "ConfusionMatrix", "ScoreCurves", "Calibration", "DecisionThresholds", "HardExamples",
        "SaliencyMaps", "Explanations", "Surrogate", "GeneralizationGap", "LabelErrors", "posttrain_suite",
    ]  # fmt: skip


def compare(case: str, names: list[str], rounds: int) -> None:
    """Interleaved rounds of all, and their medians over the bare run."""
    bare = {fit: ("fit:" if fit else "") + "bare" for fit in (False, True)}
    fits = {name: name in IN_A_FIT for name in names}
    found: dict[str, list[dict[str, float]]] = {}
    for _ in range(rounds):
        for name in [*(bare[fit] for fit in sorted(set(fits.values()))), *names]:
            measured = in_a_process(case, name)
            if measured is not None:
                found.setdefault(name, []).append(measured)
    print(f"\n{CASES[case]}: over the bare run")
    for name in names:
        if name in found:
            print(row_of(name, found[name], found[bare[fits[name]]], found.get(PEER)))


def row_of(
    name: str, mine: list[dict[str, float]], bare: list[dict[str, float]], peer: list[dict[str, float]] | None
) -> str:
    """One line: seconds, megabytes, and how many times the peer's."""

    def over(what: str, taken: list[dict[str, float]]) -> float:
        return median(each[what] for each in taken) - median(each[what] for each in bare)

    seconds = over("seconds", mine)
    times = f"{seconds / over('seconds', peer):8.2f} times the peer" if peer else ""
    peak = median(each["megabytes"] for each in mine)
    return f"{name:48}{seconds:8.2f} s{over('megabytes', mine):9.0f} MB more, {peak:6.0f} MB in all{times}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", choices=[*CASES], default=None)
    parser.add_argument("--only", nargs="*", default=None)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--measure", default="", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments.case, arguments.measure)))
        return
    for case in [arguments.case] if arguments.case else CASES:
        compare(case, arguments.only or names_of(case), arguments.rounds)


if __name__ == "__main__":
    main()
