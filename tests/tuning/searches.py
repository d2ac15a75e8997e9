"""Small modules and studies, and workers in processes of their own: ``python -m tests.tuning.searches OPTIONS``."""

from __future__ import annotations

import importlib
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import lightning.pytorch as lightning
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_posttrain.tuning import tune
from lightning_posttrain.tuning.asked import Asked
from lightning_posttrain.tuning.outcome import Outcome
from lightning_posttrain.tuning.storage import StudyStore
from lightning_posttrain.tuning.trial_queue import TrialQueue

ROOT = Path(__file__).parents[2]
QUIET = {"accelerator": "cpu", "max_epochs": 2, "logger": False, "log_every_n_steps": 1}
SPACE = {"lr": (1e-3, 1.0, "log"), "width": [2, 4]}


def loader(rows=24, batch_size=8):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(rows, 3, generator=generator)
    return DataLoader(TensorDataset(x, (x.sum(1, keepdim=True) > 0).float()), batch_size=batch_size)


def net(params, namespace="lightning.pytorch"):
    """A module of a namespace whose validation logs ``val_loss``; what is set on it says how a trial goes."""
    pl = importlib.import_module(namespace)

    class Net(pl.LightningModule):
        def __init__(self, lr=0.1, width=2, **_):
            super().__init__()
            self.lr = lr
            self.model = nn.Sequential(nn.Linear(3, width), nn.Tanh(), nn.Linear(width, 1))

        def training_step(self, batch, _):
            loss = nn.functional.binary_cross_entropy_with_logits(self.model(batch[0]), batch[1])
            self.log("train_loss", loss, on_step=False, on_epoch=True)
            return loss

        def validation_step(self, batch, _):
            loss = nn.functional.binary_cross_entropy_with_logits(self.model(batch[0]), batch[1])
            self.log("val_loss", loss, sync_dist=True)
            return loss

        def test_step(self, batch, batch_idx):
            self.log("test_loss", nn.functional.binary_cross_entropy_with_logits(self.model(batch[0]), batch[1]))

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=self.lr)

    return Net(**params)


def scored(score):
    """A module whose ``val_loss`` is a function of its parameters and the epoch, and which trains nothing."""

    def build(params):
        one = net({})
        one.validation_step = lambda batch, batch_idx: one.log("val_loss", score(params, one.current_epoch))
        return one

    return build


def run(folder, build=net, space=None, **options):
    """A study of the small module."""
    data = (loader(), loader(16), loader(32))
    trainer = {**QUIET, **options.pop("trainer", {})}
    settings = {"monitor": "val_loss", "trials": 3, "sampler": "random", "pruner": None, "data": data, **options}
    return tune(build, SPACE if space is None else space, folder=folder, trainer=trainer, **settings)


def proposed(folder, score, space, *, sampler, trials, seed=0):
    """Parameters and values that a sampler comes to by a score of the parameters, without a fit."""
    folder.mkdir()
    asked = Asked(space, "val_loss", "min", "best", trials, sampler, "none", seed, 600.0, folder)
    queue = TrialQueue(StudyStore(folder, None, "study", "min", "none"), asked)
    found = []
    while (taken := queue.take()) is not None:
        found.append((taken.params, score(taken.params)))
        assert queue.finish(taken, Outcome("complete", found[-1][1], 1))
    return found


def settled(study):
    """What must be the same in two studies: parameters, values and curves of all that were not broken off."""
    repeated = {trial.again for trial in study.trials}
    kept = [trial for trial in study.trials if trial.number not in repeated]
    return [(dict(trial.params), trial.status, trial.value, dict(trial.curve), dict(trial.figures)) for trial in kept]


def worker(folder, **options):
    """A process that works on a study."""
    Path(folder).mkdir(exist_ok=True)
    said = json.dumps({"folder": str(folder), **options})
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    command = [sys.executable, "-W", "ignore", "-m", "tests.tuning.searches", said]
    environment["OMP_NUM_THREADS"] = "1"
    with (Path(folder) / f"worker{time.time_ns()}.txt").open("w") as output:
        return subprocess.Popen(command, env=environment, stdout=output, stderr=output)


def killed_while_working(folders, kills, **options):
    """Two workers, of which one after the other is killed at a random moment of its work, and replaced."""
    draw = random.Random(0)
    workers = [worker(folder, **options) for folder in folders]
    for kill in range(kills):
        place = kill % len(workers)
        victim, folder = workers[place], folders[place]
        begun = Path(folder) / "begun.txt"
        while victim.poll() is None and not (begun.exists() and f"{victim.pid}\n" in begun.read_text()):
            time.sleep(0.01)
        time.sleep(draw.uniform(0.0, 1.2) * options["seconds"])
        assert victim.poll() is None, "the study ended before the worker could be killed"
        victim.kill()
        victim.wait()
        workers[place] = worker(folder, **options)
    ended(workers, folders[0])


def ended(processes, folder):
    """Wait for workers; what they said where one failed."""
    codes = [process.wait(timeout=240) for process in processes]
    said = "\n".join(path.read_text()[-2000:] for path in sorted(Path(folder).glob("worker*.txt")))
    assert not any(codes), said


class FallingBehind(lightning.LightningModule):
    """A module that is worse than the others from its first validation on, where ``lr`` is above 0.5.

    Each rank says at the end of its fit how far it came. It can be sent to a spawned rank.
    """

    def __init__(self, params):
        super().__init__()
        self.lr = params["lr"]
        self.model = nn.Linear(3, 1)

    def training_step(self, batch, _):
        return nn.functional.binary_cross_entropy_with_logits(self.model(batch[0]), batch[1])

    def validation_step(self, batch, _):
        self.log("val_loss", 1.0 + (self.lr > 0.5), sync_dist=True)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.lr)

    def on_fit_end(self):
        home = Path(self.trainer.default_root_dir)
        (home / f"rank{self.global_rank}.txt").write_text(str(self.trainer.global_step))


def failing(params):
    """A trial whose validation raises on all ranks."""

    def validation_step(batch, batch_idx):
        raise RuntimeError("no validation")

    one = net(params)
    one.validation_step = validation_step
    return one


BUILDS = {"net": net, "falling_behind": FallingBehind, "failing": failing}


def main(folder, build="net", seconds=0.0, **options):
    """Run a worker; each of its trials takes some seconds longer and leaves the process's number as it begins."""

    def slowly(params):
        with (Path(folder) / "begun.txt").open("a") as file:
            file.write(f"{os.getpid()}\n")
        time.sleep(seconds)
        return BUILDS[build](params)

    torch.set_num_threads(1)
    space = {name: tuple(wanted) if "log" in wanted else wanted for name, wanted in options.pop("space", SPACE).items()}
    run(folder, slowly, space, **options)


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
