"""One member: its fit, and its scores of rows."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from lightning_posttrain.classification import EvaluationOptions
from lightning_posttrain.core.callback.namespaces import AnyCallback
from lightning_posttrain.core.output.result import undefined_to_none
from lightning_posttrain.core.runs.trainers import (
    QUIET,
    best_checkpoint,
    figures_of,
    interrupt_ends_all,
    lightning_of,
    ranks_run_the_script,
    uncompiled,
)
from lightning_posttrain.ensembles.drivers.data import Data, Remake
from lightning_posttrain.ensembles.drivers.folder import LAST, MemberRecord, write_json
from lightning_posttrain.ensembles.drivers.row_scores import ScoreCollector, ScoredRows, clear_scores, read_scores

WHOLE: dict[str, Any] = {
    "limit_val_batches": None, "limit_test_batches": None, "overfit_batches": 0.0, "fast_dev_run": False,
    "enable_checkpointing": False, "profiler": None,
}  # fmt: skip
"""Of a pass over rows, which leaves none out."""
NOTED = "fit.json"
Make = Callable[[int], Sequence[Any]]


@dataclass(frozen=True)
class Recipe:
    """How each member is made; what the user said to the driver.

    Args:
        build: gives a new module.
        monitor: what the best checkpoint is best in, or None for the last.
        mode: whether less or more of it is better.
        callbacks: from a member's number to further callbacks of its Trainer.
        loggers: likewise.
        resume: whether a member that was interrupted begins again, or goes on from its last checkpoint.
        reading: how class scores are read, where that is not found by itself.
        trainer: further arguments of each Trainer.
    """

    build: Callable[[], Any]
    monitor: str | None
    mode: Literal["min", "max"]
    callbacks: Make | None
    loggers: Make | None
    resume: Literal["begin", "checkpoint"]
    reading: EvaluationOptions
    trainer: Mapping[str, Any]

    @property
    def checkpoint(self) -> str:
        """The name of a member's file."""
        return "best.ckpt" if self.monitor else "final.ckpt"


class Member:
    """One member that is being fitted, inside of ``isolated`` random numbers.

    Args:
        recipe: how it is made.
        data: what it is trained on.
        number: from 0.
        seed: of its random numbers.
        home: its folder.
    """

    def __init__(self, recipe: Recipe, data: Data, *, number: int, seed: int, home: Path) -> None:
        self.recipe = recipe
        self.data = data
        self.number = number
        self.seed = seed
        self.home = home

    def build(self) -> None:
        """Make the module and its Trainer.

        Raises:
            TypeError: ``build`` gave no LightningModule.
            ValueError: the Trainer would run the user's script on each rank.
        """
        self.module = self.recipe.build()
        self.lightning = lightning_of(self.module)
        if self.lightning is None:
            kind = type(self.module).__name__
            raise TypeError(f"`build` gave a {kind}, wanted a LightningModule, new in each call: build=lambda: Net().")
        self.trainer = self._trainer(**self._callbacks())
        check_launcher(self.trainer)

    def fit(self, remake: Remake) -> MemberRecord:
        """Fit it.

        Raises:
            FileNotFoundError: the fit left no checkpoint.
        """
        begun, last = time.monotonic(), self.home / LAST
        goes_on = str(last) if self.recipe.resume == "checkpoint" and last.is_file() else None
        with self.data.for_fit(remake, self.seed) as loaders, interrupt_ends_all(self.trainer):
            self.trainer.fit(self.module, **loaders, ckpt_path=goes_on)
        best = self.home / self.recipe.checkpoint
        if not best.exists():
            raise FileNotFoundError(
                f"the fit left no {best.name}: no epoch or validation came to its end. Train for longer, leave "
                "fast_dev_run out, or leave `monitor` out, for which the last weights are kept."
            )
        noted = json.loads((self.home / NOTED).read_text(encoding="utf-8"))
        (self.home / NOTED).unlink()
        self._load(best)
        place = best.relative_to(self.home.parent).as_posix()
        seconds = round(time.monotonic() - begun, 2)
        return MemberRecord(self.number, "complete", self.seed, place, seconds=seconds, **noted)

    def scores(self, part: Literal["train", "val"], rows: Tensor | None) -> ScoredRows:
        """Log-probabilities of rows by its checkpoint, in evaluation mode, each row once.

        Raises:
            Exception: what the step, the loader or the reading of the scores raises.
        """
        overridden = self.lightning.utilities.model_helpers.is_overridden
        hook: Literal["val", "test"] = "val" if overridden("validation_step", uncompiled(self.module)) else "test"
        collector = ScoreCollector(self.home, **self.recipe.reading)
        trainer = self._trainer(**WHOLE, callbacks=[collector], logger=False)
        number = len((self.data.train if part == "train" else self.data.val).dataset) if rows is None else len(rows)
        clear_scores(self.home)
        with self.data.for_scores(part, rows, hook) as loaders, interrupt_ends_all(trainer):
            run = trainer.validate if hook == "val" else trainer.test
            run(self.module, **loaders, verbose=False)
        return read_scores(self.home, number)

    def _load(self, best: Path) -> None:
        # this process has just written it, and it may hold what callbacks keep, of any type
        content = torch.load(best, map_location="cpu", weights_only=False)
        uncompiled(self.module).load_state_dict(content["state_dict"])

    def _trainer(self, **others: Any) -> Any:
        given = copy.deepcopy(dict(self.recipe.trainer))
        return self.lightning.Trainer(**{**QUIET, **given, "default_root_dir": self.home, **others})

    def _callbacks(self) -> dict[str, Any]:
        recipe, kept = self.recipe, []
        goes_on = recipe.resume == "checkpoint"
        if recipe.monitor:
            best = partial(best_checkpoint, monitor=recipe.monitor, mode=recipe.mode, save_last=goes_on)
            kept = [best(self.lightning, self.home)]
        elif goes_on:
            make = self.lightning.callbacks.ModelCheckpoint
            kept = [make(self.home, filename="last", enable_version_counter=False)]
        final = None if recipe.monitor else self.home / recipe.checkpoint
        noting = FitNotes(self.home / NOTED, final=final, best=kept[0] if recipe.monitor else None)
        more = [] if recipe.callbacks is None else list(recipe.callbacks(self.number))
        loggers = False if recipe.loggers is None else list(recipe.loggers(self.number))
        return {"callbacks": [*more, noting, *kept], "logger": loggers}


def check_launcher(trainer: Any) -> None:
    """Raise where each rank would run the user's script, and so a driver of its own.

    Raises:
        ValueError: with the cure.
    """
    if ranks_run_the_script(trainer):
        raise ValueError(
            f"`strategy` is {type(trainer.strategy).__name__} on {trainer.world_size} devices, whose ranks each run "
            'this script, and would each drive all members. Pass strategy="ddp_fork", or "ddp_spawn" where the script '
            'has an `if __name__ == "__main__":`, or devices=1.'
        )


class FitNotes(AnyCallback):
    """Writes the last weights, where no others are kept, and what the fit came to, in whichever process it ran."""

    def __init__(self, path: Path, *, final: Path | None, best: Any) -> None:
        super().__init__()
        self.path = path
        self.final = final
        self.best = best

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Keep the last weights."""
        if self.final is not None:
            trainer.save_checkpoint(self.final)

    def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
        """Write epochs, steps and figures."""
        if trainer.is_global_zero:
            score = None if self.best is None else self.best.best_model_score
            noted = {"epochs": trainer.current_epoch, "steps": trainer.global_step, "figures": figures_of(trainer)}
            write_json(self.path, undefined_to_none({**noted, "score": None if score is None else float(score)}))
