"""Runs Trainers on two or three forked ranks and writes what each rank found; run by ``test_ddp.py``.

python -m tests.two_ranks FOLDER
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from lightning.pytorch import Callback, seed_everything
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.loggers import CSVLogger
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset
from torchmetrics import SumMetric
from torchmetrics.classification import MulticlassAUROC

from lightning_posttrain import (
    ClassificationMetrics,
    ConfusionMatrix,
    GeneralizationGap,
    HardExampleMining,
    HardExamples,
    HardExampleSampler,
    LabelErrors,
    TorchMetrics,
    posttrain_suite,
)
from lightning_posttrain.core.stream import ranks
from lightning_posttrain.core.stream.budget import Budget
from lightning_posttrain.core.stream.stream import EvaluationStream
from tests import toys
from tests.test_no_trace import Net as EveryPart
from tests.test_no_trace import explainer, perturbing


class Record(Callback):
    """Writes the rank's results and what a monitor on it would see."""

    def __init__(self, suite, path):
        self.suite, self.path = suite, path

    def _write(self, trainer, pl_module):
        if trainer.sanity_checking:
            return
        metrics, matrix, _, calibration, thresholds, hard, saliency = self.suite
        key = "test" if trainer.testing else "val"
        found = {
            "counts": matrix.results[key].counts.tolist(),
            "report": metrics.results[key].to_dict(),
            "monitored": {k: float(v) for k, v in trainer.callback_metrics.items() if k.startswith(f"{key}/")},
            "hard": hard.results[key].to_dict(),
            "calibration": calibration.results[key].to_dict(),
            "thresholds": thresholds.results[key].to_dict(),
            "explained": bool(key in saliency.results and saliency.results[key].samples),
        }
        self.path.with_suffix(f".rank{trainer.global_rank}.json").write_text(json.dumps(found))

    on_validation_end = on_test_end = _write


def data(rows):
    return toys.images(rows, seed=3)


class FirstRankOnly(IterableDataset):
    """All rows on the first rank, none on the others."""

    def __init__(self, rows):
        self.rows = rows

    def __iter__(self):
        return iter(data(self.rows) if not dist.get_rank() else ())


class Everything(IterableDataset):
    """All rows on every rank."""

    def __init__(self, rows):
        self.rows = rows

    def __iter__(self):
        return iter(data(self.rows))


class ReturnsFeatures(toys.Net):
    """What the step returns has the shape of scores, and under DDP passes through the module's own hooks."""

    def step(self, batch, stage):
        super().step(batch, stage)
        return {"features": batch[0].flatten(1)}


def evaluate(folder, rows, stage, world, shuffle):
    suite = posttrain_suite(on_error="raise")
    path = folder / f"{stage}-{rows}-{world}-{shuffle}"
    trainer = toys.quiet(
        [*suite, Record(suite, path)],
        strategy="ddp_fork",
        devices=world,
        default_root_dir=path,
        logger=CSVLogger(path),
        log_every_n_steps=1,
    )
    seed_everything(0, verbose=False)
    loader = (
        DataLoader(FirstRankOnly(rows), batch_size=4)
        if shuffle is None
        else toys.loader(data(rows), batch_size=4, shuffle=shuffle)
    )
    if stage == "fit":
        frozen = ReturnsFeatures(call="self.model(x)")
        frozen.configure_optimizers = lambda: torch.optim.SGD(frozen.parameters(), lr=0.0)
        trainer.fit(frozen, toys.loader(batch_size=8), loader)
    else:
        getattr(trainer, stage)(toys.Net(), loader, verbose=False)


ROWS = (*range(1, 41), 1001)
AT_ONCE = 11
"""Loaders in one validation: the launcher hands logged values back through a pipe that is soon full, and then waits."""


class RecordAll(Callback):
    """Writes the counts of every loader on each rank."""

    def __init__(self, callbacks, folder):
        self.callbacks, self.folder = callbacks, folder

    def on_validation_end(self, trainer, pl_module):
        if trainer.sanity_checking:
            return
        metrics, matrix, guest = self.callbacks
        found = {
            key: {
                "counts": result.counts.tolist(),
                "report": metrics.results[key].to_dict(),
                "guest": guest.results[key].to_dict(),
            }
            for key, result in matrix.results.items()
        }
        world, rank = trainer.world_size, trainer.global_rank
        (self.folder / f"many-{world}.rank{rank}.json").write_text(json.dumps(found))


def many(folder, world, loaders):
    """A validation of many loaders at once."""
    folder.mkdir(exist_ok=True)
    torch.manual_seed(0)
    guests = {"auroc": MulticlassAUROC(toys.CLASSES), "rows": SumMetric()}
    callbacks = [
        ClassificationMetrics(on_error="raise", resamples=0, log=["accuracy"], exact=True),
        ConfusionMatrix(on_error="raise"),
        TorchMetrics(guests, update_fn=with_rows, on_error="raise"),
    ]
    trainer = toys.quiet(
        [*callbacks, RecordAll(callbacks, folder)], strategy="ddp_fork", devices=world, default_root_dir=folder
    )
    trainer.validate(Returns(), loaders, verbose=False)


class Returns(toys.Net):
    def step(self, batch, stage):
        return {"preds": self(batch[0]).softmax(1), "target": batch[1]}


def with_rows(outputs, batch):
    return {"preds": outputs["preds"], "target": outputs["target"], "value": torch.ones_like(outputs["target"]).float()}


class Prototypes(toys.Net):
    """Scores by a function after a layer that is wider than the number of classes."""

    def __init__(self):
        super().__init__()
        self.model = nn.Linear(64, 8)
        self.prototypes = nn.Parameter(torch.randn(3, 8))

    def forward(self, x):
        return -torch.cdist(self.model(x.flatten(1)), self.prototypes)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.0)


class RecordTraining(RecordAll):
    """Writes the counts of training on each rank."""

    def on_train_end(self, trainer, pl_module):
        (matrix,) = self.callbacks
        found = {key: result.counts.tolist() for key, result in matrix.results.items()}
        (self.folder / f"training.rank{trainer.global_rank}.json").write_text(json.dumps(found))

    def on_validation_end(self, trainer, pl_module):
        pass


def training(folder):
    """Training read on two ranks."""
    torch.manual_seed(0)
    module, pictures = Prototypes(), data(21).tensors[0]
    with torch.no_grad():
        target = module(pictures).argmax(1)
    loader = toys.loader(TensorDataset(pictures, target), batch_size=4)
    matrix = ConfusionMatrix(stages=["train", "val"], on_error="raise")
    trainer = toys.quiet(
        [matrix, RecordTraining([matrix], folder)], strategy="ddp_fork", devices=2, default_root_dir=folder
    )
    trainer.fit(module, loader, loader)


def as_samples(batch):
    return batch


def of_samples(outputs, batch):
    return ([1.0] * len(batch),)


class CountOnly(toys.Net):
    def step(self, batch, stage):
        return None


class SumOfList(SumMetric):
    def update(self, values):
        super().update(torch.tensor(values))


def samples(folder):
    """Batches that are lists of samples."""
    for size in (1, 4):
        guest = TorchMetrics(SumOfList(), update_fn=of_samples, on_error="raise", name=f"size{size}")
        loader = DataLoader(data(41), batch_size=size, collate_fn=as_samples)
        trainer = toys.quiet(guest, strategy="ddp_fork", devices=2, default_root_dir=folder)
        trainer.validate(CountOnly(), loader, verbose=False)


class Mined(toys.Net):
    """Learns nothing, and keeps which samples came."""

    def __init__(self):
        super().__init__()
        self.model = nn.Sequential(nn.Flatten(), nn.Linear(64, toys.CLASSES))
        self.came = {}

    def training_step(self, batch, batch_idx):
        self.came.setdefault(self.current_epoch, []).extend(batch[2].tolist())
        logits = self(batch[0])
        return {"loss": 0 * nn.functional.cross_entropy(logits, batch[1]), "logits": logits}

    def step(self, batch, stage):
        self(batch[0])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.0)


def second(batch):
    return batch[1]


def mine(folder, world):
    class Save(Callback):
        def on_train_end(self, trainer, pl_module):
            history = callbacks[1].results["val"]
            found = {
                "history": [history.to_dict(), history.loss.tolist(), history.index.tolist()],
                "losses": sampler.losses.tolist(),
                "came": list(pl_module.came.values()),
            }
            (folder / f"mined-{world}.rank{trainer.global_rank}.json").write_text(json.dumps(found))

    seed_everything(0, verbose=False)
    numbered = TensorDataset(*data(40).tensors, torch.arange(40))
    sampler = HardExampleSampler(numbered, floor=0.2)
    callbacks = [HardExampleMining(on_error="raise", target_fn=second), LabelErrors(on_error="raise", target_fn=second)]
    strategy = "ddp_fork" if world > 1 else "auto"
    trainer = toys.quiet(
        [*callbacks, Save()], strategy=strategy, devices=world, max_epochs=3, default_root_dir=folder / f"m{world}"
    )
    loader = DataLoader(numbered, batch_size=4, sampler=sampler)
    trainer.fit(Mined(), loader, DataLoader(TensorDataset(*numbered.tensors[:2]), batch_size=4))


def resume(folder):
    """Three epochs at once, and with a checkpoint between the first one's validation and its end."""

    class Save(Checkpoint):
        def on_validation_end(self, trainer, pl_module):
            if path is None and trainer.current_epoch == 0 and not trainer.sanity_checking:
                trainer.save_checkpoint(folder / "open.ckpt")

        def on_train_end(self, trainer, pl_module):
            history = callbacks[1].results["train"]
            found = {
                "samples": [history.to_dict(), history.loss.tolist(), history.seen.tolist()],
                "events": history.past,
                "gap": callbacks[2].results["train"].to_dict(),
                "counts": callbacks[3].results["train"].counts.tolist(),
            }
            name = "whole" if path is None else "resumed"
            (folder / f"{name}.rank{trainer.global_rank}.json").write_text(json.dumps(found))

    numbered = TensorDataset(*data(40).tensors, torch.arange(40))
    for path in (None, folder / "open.ckpt"):
        seed_everything(0, verbose=False)
        options = {"on_error": "raise", "target_fn": second}
        callbacks = [
            HardExampleMining(**options),
            LabelErrors(stages=["train", "val"], **options),
            GeneralizationGap(**options),
            ConfusionMatrix(stages=["train"], **options),
        ]
        root = folder / f"open-{path is None}"
        trainer = toys.quiet(
            [*callbacks, Save()],
            strategy="ddp_fork",
            devices=2,
            max_epochs=3,
            default_root_dir=root,
            enable_checkpointing=True,
        )
        loader = DataLoader(numbered, batch_size=4, sampler=HardExampleSampler(numbered, floor=0.2))
        val = DataLoader(TensorDataset(*numbered.tensors[:2]), batch_size=4)
        trainer.fit(Mined(), loader, val, ckpt_path=path)


class Counting:
    """``torch.distributed``, with the names of what was called."""

    def __init__(self):
        self.called = []

    def __getattr__(self, name):
        found = getattr(dist, name)
        if name not in ("all_gather", "all_reduce", "all_gather_object"):
            return found

        def call(*args, **options):
            self.called.append(name)
            return found(*args, **options)

        return call


def apart(folder):
    """A validation in which a callback fails on the second rank alone."""

    class Save(Callback):
        def on_validation_end(self, trainer, pl_module):
            found = {"results": [bool(callback.results) for callback in suite], "called": ranks.dist.called}
            (folder / f"apart.rank{trainer.global_rank}.json").write_text(json.dumps(found))

    def observe(key, batch):
        if dist.get_rank() == 1:
            raise RuntimeError("only here")

    suite = posttrain_suite()
    hard = next(callback for callback in suite if isinstance(callback, HardExamples))
    hard.observe, before, ranks.dist = observe, ranks.dist, Counting()
    trainer = toys.quiet([*suite, Save()], strategy="ddp_fork", devices=2, default_root_dir=folder / "apart")
    trainer.validate(toys.Net(), toys.loader(data(37), batch_size=4), verbose=False)
    ranks.dist = before


def train(folder, watched):
    class Save(Callback):
        def on_train_end(self, trainer, pl_module):
            if trainer.is_global_zero:
                torch.save(pl_module.state_dict(), folder / f"weights-{watched}.pt")

    every = [
        *posttrain_suite(on_error="raise"),
        explainer(name="all", faithfulness=False),
        *perturbing(on_error="raise"),
    ]
    suite = every if watched else []
    seed_everything(0, verbose=False)
    trainer = toys.quiet([*suite, Save()], strategy="ddp_fork", devices=2, max_epochs=2, default_root_dir=folder)
    trainer.fit(EveryPart(), toys.loader(batch_size=8, shuffle=True), toys.loader(batch_size=8))


def save_room(folder):
    """Three epochs with room for nothing in the second, as the first rank has it; the other would have room."""

    class Watch(Callback):
        def __init__(self):
            self.monitored = []

        def setup(self, trainer, pl_module, stage):
            if not trainer.is_global_zero:
                Budget._has_room = lambda *_: True

        def on_validation_end(self, trainer, pl_module):
            if not trainer.sanity_checking:
                self.monitored.append(sorted(trainer.callback_metrics))

        def on_train_end(self, trainer, pl_module):
            costs = EvaluationStream.of(trainer).costs
            found = {"monitored": self.monitored, "left_out": costs.budget.left_out}
            (folder / f"room.rank{trainer.global_rank}.json").write_text(json.dumps(found))

    suite = posttrain_suite(on_error="raise", max_overhead=0.0)
    trainer = toys.quiet(
        [*suite, Watch()], strategy="ddp_fork", devices=2, max_epochs=3, default_root_dir=folder / "room"
    )
    trainer.fit(toys.Net(), toys.loader(), toys.loader())


def main(folder):
    torch.set_num_threads(1)
    for rows, stage, world, shuffle in (
        (37, "fit", 2, False),
        (37, "validate", 2, True),
        (37, "test", 3, False),
        (3, "test", 2, False),
        (2, "validate", 3, False),
        (9, "validate", 2, None),
    ):
        evaluate(folder, rows, stage, world, shuffle)
    for world in (2, 3):
        for first in range(0, len(ROWS), AT_ONCE):
            loaders = [toys.loader(data(rows), batch_size=4) for rows in ROWS[first : first + AT_ONCE]]
            many(folder / f"from-{first}", world, loaders)
    training(folder)
    samples(folder)
    many(folder / "without", 2, DataLoader(FirstRankOnly(9), batch_size=4))
    many(folder / "double", 2, DataLoader(Everything(9), batch_size=4))
    for world in (1, 2):
        mine(folder, world)
    resume(folder)
    apart(folder)
    for watched in (False, True):
        train(folder, watched)
    save_room(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
