"""What a validation costs where its figures are ours, and where they are written by hand with torchmetrics, on a CPU.

    python benchmarks/by_hand.py [--classes 120] [--rows 24000] [--rounds 5] [--only "11 torchmetrics" "our suite"]

Seconds of a CPU of one `trainer.validate` over the bare run, of the main thread and of all threads, files and pictures
included, as medians over interleaved rounds in one process, and how many times ours the other is. By hand the module
has eleven metrics with torchmetrics' defaults, of which areas under curves are exact, as ours are; it saves the
confusion matrix as torchmetrics draws it, without numbers in the cells, which would take minutes, and the figures of
each class as CSV.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import logging
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
from torchmetrics import MetricCollection
from torchmetrics import classification as tm

from lightning_posttrain import ClassificationMetrics, ConfusionMatrix, posttrain_suite

FEATURES, BATCH = 64, 256
EACH = ("precision", "recall", "f1", "specificity", "auroc", "average_precision")
"""Metrics that are worked out for each class, whose means are logged."""


class Classifier(LightningModule):
    """A linear head, which costs little, and its loss."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.net = nn.Linear(FEATURES, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)  # type: ignore[no-any-return]

    def validation_step(self, batch: tuple[Tensor, Tensor], _batch_idx: int) -> dict[str, Tensor]:
        logits = self(batch[0])
        loss = F.cross_entropy(logits, batch[1])
        self.log("val_loss", loss)
        return {"loss": loss, "logits": logits}


class ByHand(Classifier):
    """The same with eleven metrics, a picture of the confusion matrix and a table of the classes."""

    def __init__(self, classes: int) -> None:
        super().__init__(classes)
        every: Any = {"num_classes": classes}
        each: Any = {**every, "average": None}
        self.metrics = MetricCollection(
            {
                "accuracy": tm.MulticlassAccuracy(**every, average="micro"),
                "balanced_accuracy": tm.MulticlassAccuracy(**every, average="macro"),
                "top_5_accuracy": tm.MulticlassAccuracy(**every, average="micro", top_k=5),
                "precision": tm.MulticlassPrecision(**each),
                "recall": tm.MulticlassRecall(**each),
                "f1": tm.MulticlassF1Score(**each),
                "specificity": tm.MulticlassSpecificity(**each),
                "mcc": tm.MulticlassMatthewsCorrCoef(**every),
                "kappa": tm.MulticlassCohenKappa(**every),
                "auroc": tm.MulticlassAUROC(**each),
                "average_precision": tm.MulticlassAveragePrecision(**each),
            }
        )
        self.confusion = tm.MulticlassConfusionMatrix(**every)

    def validation_step(self, batch: tuple[Tensor, Tensor], _batch_idx: int) -> dict[str, Tensor]:
        found = super().validation_step(batch, _batch_idx)
        self.metrics.update(found["logits"], batch[1])
        self.confusion.update(found["logits"], batch[1])
        return found

    def on_validation_epoch_end(self) -> None:
        values = self.metrics.compute()
        self.log_dict({name: value.nanmean() for name, value in values.items()})
        self._save(values)
        self.metrics.reset()
        self.confusion.reset()

    def _save(self, values: dict[str, Tensor]) -> None:
        from matplotlib import pyplot as plt

        folder = Path(self.trainer.default_root_dir)
        figure, _ = self.confusion.plot(add_text=False)
        figure.savefig(folder / "confusion.png")
        plt.close(figure)
        with (folder / "classes.csv").open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(("class", *EACH))
            rows.writerows(zip(range(len(values["f1"])), *(values[name].tolist() for name in EACH), strict=True))


SETS: dict[str, tuple[type[Classifier], Callable[[], Sequence[Any]]]] = {
    "bare": (Classifier, list),
    "11 torchmetrics": (ByHand, list),
    "ClassificationMetrics, ConfusionMatrix": (Classifier, lambda: [ClassificationMetrics(), ConfusionMatrix()]),
    "posttrain_suite": (Classifier, posttrain_suite),
}


def learned(classes: int, rows: int) -> tuple[Tensor, DataLoader[Any]]:
    """The weights of a head that is right in many rows, and these."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(classes, FEATURES, generator=generator)
    target = torch.randint(classes, (rows,), generator=generator)
    features = centres[target] + 2.5 * torch.randn(rows, FEATURES, generator=generator)
    return centres / 3, DataLoader(TensorDataset(features, target), batch_size=BATCH)


def seconds(name: str, weights: Tensor, rows: DataLoader[Any]) -> tuple[float, float]:
    """CPU seconds of a validation, of the main thread and of all."""
    kind, callbacks = SETS[name]
    module = kind(len(weights))
    with torch.no_grad():
        module.net.weight.copy_(weights)
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            accelerator="cpu", callbacks=list(callbacks()), default_root_dir=folder, logger=False,
            enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        )  # fmt: skip
        begin = time.thread_time(), time.process_time()
        trainer.validate(module, rows, verbose=False)
        return time.thread_time() - begin[0], time.process_time() - begin[1]


def measured(names: Sequence[str], rounds: int, weights: Tensor, rows: DataLoader[Any]) -> dict[str, tuple[float, ...]]:
    """Medians of what each takes over the bare run."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in ("bare", *names)}
    for number in range(rounds + 1):
        for name, times in taken.items():
            found = seconds(name, weights, rows)
            if number:  # the first round warms up
                times.append(found)
    middle = {name: [median(part) for part in zip(*times, strict=True)] for name, times in taken.items()}
    return {name: tuple(map(float.__sub__, middle[name], middle["bare"])) for name in names}


def main() -> None:
    names = [name for name in SETS if name != "bare"]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--classes", type=int, default=120)
    parser.add_argument("--rows", type=int, default=24_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="*", default=names, choices=names)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    with contextlib.redirect_stderr(io.StringIO()):
        found = measured(arguments.only, arguments.rounds, *learned(arguments.classes, arguments.rows))
    theirs = found.get("11 torchmetrics")
    print(f"| {arguments.rows} rows, {arguments.classes} classes | main thread, CPU s | by hand | all | by hand |")
    print("|---|---|---|---|---|")
    for name, own in found.items():
        cells = [f"{one:.2f} | {other / one:.1f} ×" for one, other in zip(own, theirs or (), strict=False)]
        print(f"| {name} | {' | '.join(cells or [f'{one:.2f} |' for one in own])} |")


if __name__ == "__main__":
    main()
