"""Runs one trial, and says how it ended."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

from lightning_posttrain.core.runs.chatter import without_chatter
from lightning_posttrain.core.runs.failures import free_memory, reason_of
from lightning_posttrain.core.runs.isolation import isolated, seed_of
from lightning_posttrain.core.runs.trainers import figures_of, interrupt_ends_all
from lightning_posttrain.tuning.asked import FIT, Asked
from lightning_posttrain.tuning.building import Build, Built, built, trainer_for
from lightning_posttrain.tuning.outcome import Outcome
from lightning_posttrain.tuning.pruning import TrialPruning
from lightning_posttrain.tuning.refusal import StudyRefused
from lightning_posttrain.tuning.reports import Reports
from lightning_posttrain.tuning.trial_queue import Taken


@final
@dataclass(frozen=True)
class TrialRun:
    """How trials of a study are run.

    Args:
        build: from parameters to a module.
        asked: what the study is for.
        data: of all trials.
        options: of all Trainers.
        warned: warnings that a trial has shown, and the next does not again.
    """

    build: Build
    asked: Asked
    data: Any
    options: Mapping[str, Any]
    warned: set[tuple[Any, ...]] = field(default_factory=set)

    def run(self, taken: Taken, reports: Reports) -> Outcome:
        """Build and fit; an error of the trial is its outcome, and all of it is in ``error.txt`` of its folder.

        Raises:
            StudyRefused: no trial could run so.
        """
        home = self.asked.folder / folder_of(taken.number)
        try:
            with isolated(self._seed(taken)), without_chatter(self.warned):
                return self._fit(taken, reports, home)
        except StudyRefused:
            raise
        except Exception as error:
            home.mkdir(parents=True, exist_ok=True)
            (home / "error.txt").write_text("".join(traceback.format_exception(error)))
            reason = reason_of(error)
        free_memory()
        return Outcome("failed", reason=reason, folder=home.name)

    def test(self, taken: Taken, checkpoint: str) -> dict[str, float]:
        """Figures on test of a trial, from the checkpoint of its best epoch."""
        # of the same folder as its fit, or its checkpoint callback warns that it has moved
        home = self.asked.folder / folder_of(taken.number)
        with isolated(self._seed(taken)), without_chatter(self.warned):
            one = built(self.build, taken.params, data=self.data, options={**self.options, "logger": False})
            trainer = self._trainer(one, home, None)
            with interrupt_ends_all(trainer):
                trainer.test(one.module, *one.loaders("test"), ckpt_path=self.asked.folder / checkpoint, verbose=False)
            return figures_of(trainer)

    def _fit(self, taken: Taken, reports: Reports, home: Path) -> Outcome:
        one = built(self.build, taken.params, data=self.data, options=self.options)
        trainer = self._trainer(one, home, TrialPruning(reports))
        with interrupt_ends_all(trainer):
            trainer.fit(one.module, *one.loaders("fit"))
        return self._outcome(trainer, reports, home)

    def _seed(self, taken: Taken) -> int:
        return seed_of(self.asked.seed, taken.order, FIT)

    def _trainer(self, one: Built, home: Path, callback: Any) -> Any:
        return trainer_for(one, home, monitor=self.asked.monitor, mode=self.asked.mode, callback=callback)

    def _outcome(self, trainer: Any, reports: Reports, home: Path) -> Outcome:
        figures, stopped, curve = figures_of(trainer), reports.stopped(), reports.curve()
        if stopped is not None:
            return Outcome("pruned", None, stopped[1], _stop_reason(stopped, trainer), figures, folder=home.name)
        if not curve:
            reason = f"`monitor={self.asked.monitor!r}` was never reported: the fit ended before it was logged"
            return Outcome("failed", reason=reason, figures=figures, folder=home.name)
        step = self._step(curve)
        saved = _checkpoint(trainer, self.asked.folder, self.asked.monitor)
        return Outcome("complete", curve[step], step, "", figures, saved, home.name)

    def _step(self, curve: Mapping[int, float]) -> int:
        """The step whose value counts; of equal ones the earlier."""
        if self.asked.value == "last":
            return max(curve)
        best = min(curve.values()) if self.asked.mode == "min" else max(curve.values())
        return min(step for step, value in curve.items() if value == best)


def folder_of(number: int) -> str:
    """The folder of a trial, in the study's."""
    return f"trial_{number:04d}"


def _stop_reason(stopped: tuple[str, int], trainer: Any) -> str:
    reason, step = stopped
    if trainer.global_step == step or not (trainer.min_epochs or trainer.min_steps):
        return reason
    least = f"min_epochs={trainer.min_epochs}" if trainer.min_epochs else f"min_steps={trainer.min_steps}"
    return f"{reason}; `{least}` kept it going to step {trainer.global_step}"


def _checkpoint(trainer: Any, folder: Path, monitor: str) -> str:
    """The best epoch's file, from the study's folder on; empty where there is none."""
    for one in trainer.checkpoint_callbacks:
        if getattr(one, "monitor", None) == monitor and one.best_model_path:
            path = Path(one.best_model_path)
            inside = path.is_relative_to(folder.resolve())
            return path.relative_to(folder.resolve()).as_posix() if inside else str(path)
    return ""
