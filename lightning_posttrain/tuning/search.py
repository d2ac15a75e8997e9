"""Runs the trials of a study until all are given out, and keeps what came out on disk."""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from typing import final

from filelock import FileLock

from lightning_posttrain.core.callback.from_lightning import rank_zero_info
from lightning_posttrain.core.runs.failures import reason_of
from lightning_posttrain.tuning.asked import Asked
from lightning_posttrain.tuning.outputs import write_outputs
from lightning_posttrain.tuning.reading import study_of
from lightning_posttrain.tuning.refusal import StudyRefused
from lightning_posttrain.tuning.reports import Reports
from lightning_posttrain.tuning.result import Study, Trial
from lightning_posttrain.tuning.trial_queue import Taken, TrialQueue
from lightning_posttrain.tuning.trial_run import TrialRun, folder_of

ALIKE = 3
"""Failures for one reason, and nothing else, that end a study."""
BEATS = 5
"""Signs of life in the time after which a silent process is taken for dead."""


@final
@dataclass(frozen=True)
class Search:
    """One worker of a study.

    Args:
        asked: what the study is for.
        queue: of its trials.
        run: of one.
        test: whether the best is tested at the end.
    """

    asked: Asked
    queue: TrialQueue
    run: TrialRun
    test: bool

    def go(self) -> Study:
        """Run trials until none is left to take.

        Raises:
            StudyRefused: no trial can run as asked, or all fail alike.
        """
        while (taken := self.queue.take()) is not None:
            self._one(taken)
        if self.test:
            self._test_best()
        study = self._written(None)
        running = sum(trial.status == "running" for trial in study.trials)
        if running:
            rank_zero_info(f"{running} trials are still running in other processes, which write what they find.")
        return study

    def study(self) -> Study:
        """As it stands."""
        return study_of(self.queue.store.name, self.asked, self.queue.trials(), self.queue.tested())

    def _one(self, taken: Taken) -> None:
        every = self.asked.grace / BEATS
        reports = Reports(self.queue.store, taken.number, monitor=self.asked.monitor, every=every)
        try:
            outcome = self.run.run(taken, reports)
        except BaseException:
            self.queue.leave(taken)
            raise
        if not self.queue.finish(taken, outcome):
            rank_zero_info(f"trial {taken.number} was silent for {self.asked.grace:g} s and is repeated by another.")
        study = self._written(taken.number)
        rank_zero_info(line_of(study, study.trials[taken.number], self.asked.trials))
        self._end_if_alike(study)

    def _written(self, number: int | None) -> Study:
        """The study, once its files are; what cannot be written costs no trial."""
        with FileLock(self.asked.folder / "outputs.lock"):
            study = self.study()
            try:
                write_outputs(study, self.asked.folder, changed=None if number is None else study.trials[number])
            except Exception as error:
                why = reason_of(error)
                warnings.warn(f"the study's files are not up to date, but its trials are kept: {why}", stacklevel=2)
        return study

    def _end_if_alike(self, study: Study) -> None:
        failed = failures_alike(study)
        if len(failed) >= ALIKE:
            file = self.asked.folder / folder_of(failed[-1].number) / "error.txt"
            raise StudyRefused(
                f"the study ended: {len(failed)} trials failed and none gave a value, the last {ALIKE} for one reason: "
                f"{failed[-1].reason}. It is of `build` or the data rather than of the parameters: correct it and call "
                f"`tune` again, which goes on.{f' All of the error is in {str(file)!r}.' if file.exists() else ''}"
            )

    def _test_best(self) -> None:
        """Once all trials have ended, whichever worker comes to it; a test that cannot be run costs no study."""
        study = self.study()
        waits = any(trial.status in ("running", "waiting") for trial in study.trials)
        if waits or not study.ranked or study.best.test:
            return
        best = self.queue.taken(study.best.number)
        checkpoint = self.queue.checkpoint(best.number)
        if not checkpoint or not (self.asked.folder / checkpoint).exists():
            why = f"has no checkpoint in {str(self.asked.folder)!r}: call `tune` again where it ran"
            why = why if checkpoint else "kept no checkpoint"
            warnings.warn(f"trial {best.number} is the best and was not tested, as it {why}", stacklevel=2)
            return
        try:
            self.queue.keep_test(best.number, self.run.test(best, checkpoint))
        except Exception as error:
            warnings.warn(f"trial {best.number} is the best and was not tested: {reason_of(error)}", stacklevel=2)


def failures_alike(study: Study) -> list[Trial]:
    """Trials that failed or gave NaN, where none gave a value and the last three did for one reason."""
    repeated = {trial.again for trial in study.trials}
    ended = [trial for trial in study.trials if trial.status not in ("running", "waiting")]
    if any(trial.curve or trial.status == "complete" for trial in ended):
        return []
    failed = [trial for trial in ended if trial.number not in repeated]
    return failed if len({re.sub(r"\d+", "#", trial.reason) for trial in failed[-ALIKE:]}) == 1 else []


def line_of(study: Study, trial: Trial, asked: int) -> str:
    """What became of a trial."""
    settings = ", ".join(f"{name}={_short(value)}" for name, value in trial.params.items())
    became = f"{study.monitor} {trial.value:.6g}" if trial.value is not None else f"{trial.status}, {trial.reason}"
    best = f"; best {study.best.value:.6g}, trial {study.best.number}" if study.ranked else ""
    return f"trial {trial.number} of {asked}: {became} with {settings}{best}"


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
