"""Gives the trials of a study out, each to one process, and takes back those whose process has ended."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, final

from lightning_posttrain.core.runs.isolation import seed_of
from lightning_posttrain.core.runs.owners import has_ended, this_process
from lightning_posttrain.tuning.asked import SAMPLING, Asked, check_same
from lightning_posttrain.tuning.backend import optuna, quiet
from lightning_posttrain.tuning.outcome import Outcome
from lightning_posttrain.tuning.samplers import SAMPLERS, distributions
from lightning_posttrain.tuning.space import grid_of
from lightning_posttrain.tuning.storage import StudyStore

State = optuna.trial.TrialState
ENDS = {"complete": State.COMPLETE, "pruned": State.PRUNED, "failed": State.FAIL}


@final
@dataclass(frozen=True)
class Taken:
    """A trial that this process is to run.

    Args:
        number: of the trial.
        order: its place among trials that repeat none; of one that repeats another, that one's.
        params: what to try.
    """

    number: int
    order: int
    params: Mapping[str, Any]


def is_lost(trial: Any) -> bool:
    """Whether its process ended before it did; another trial repeats it."""
    return trial.state == State.FAIL and "lost" in trial.user_attrs


def order_of(trials: Sequence[Any], number: int) -> int:
    """The place of a trial among those that repeat none.

    Seeds go by it: a trial that is repeated, and all that come after it, draw what they would have drawn without.
    """
    while number < len(trials) and "again" in trials[number].user_attrs:
        number = trials[number].user_attrs["again"]
    return sum("again" not in trial.user_attrs for trial in trials[:number])


@final
class TrialQueue:
    """The trials of one study, as the workers of all processes share them.

    All that gives out, takes back or ends a trial is done under the study's lock. So a trial that runs and has no owner
    is of a process that died between the two.

    Args:
        store: where the study is.
        asked: what it is for.
    """

    def __init__(self, store: StudyStore, asked: Asked) -> None:
        self.store = store
        self.asked = asked
        with self._held():
            self.study, self.storage = store.open()
            self._agree()
            self._queue_grid()

    def trials(self) -> list[Any]:
        """All, by their numbers."""
        found: list[Any] = self.study.get_trials(deepcopy=False)
        return found

    def take(self) -> Taken | None:
        """The next trial, this process its owner; None where all that were asked for are given out."""
        with self._held():
            self._take_back()
            trials = self.trials()
            waiting = [trial.number for trial in trials if trial.state == State.WAITING]
            if not waiting and sum(not is_lost(trial) for trial in trials) >= self.asked.trials:
                return None
            order = order_of(trials, waiting[0] if waiting else len(trials))
            # a sampler that goes on after a restart, or in a second process, would draw the same again
            self.study.sampler = SAMPLERS[self.asked.sampler](seed_of(self.asked.seed, order, SAMPLING))
            trial = self.study.ask(distributions(self.asked.space))
            trial.set_user_attr("owner", this_process())
            return Taken(trial.number, order, dict(trial.params))

    def finish(self, taken: Taken, outcome: Outcome) -> bool:
        """Record how a trial ended; False where it was taken from this process meanwhile."""
        with self._held():
            trial = self.trials()[taken.number]
            if trial.state != State.RUNNING:
                return False
            self._mark(trial, "outcome", outcome.to_dict())
            self.study.tell(taken.number, outcome.value, state=ENDS[outcome.status])
            return True

    def leave(self, taken: Taken) -> None:
        """Let another process, or the next call in this one, repeat a trial that was broken off."""
        with self._held():
            self._mark(self.trials()[taken.number], "left", True)

    def tested(self) -> dict[str, dict[str, float]]:
        """Figures on test, by the number of the trial."""
        found: dict[str, dict[str, float]] = self.study.user_attrs.get("test", {})
        return found

    def taken(self, number: int) -> Taken:
        """A trial as it was taken."""
        trials = self.trials()
        return Taken(number, order_of(trials, number), dict(trials[number].params))

    def checkpoint(self, number: int) -> str:
        """File of a trial's best epoch, from the study's folder on; empty where there is none."""
        found: str = self.trials()[number].user_attrs.get("outcome", {}).get("checkpoint", "")
        return found

    def keep_test(self, number: int, figures: Mapping[str, float]) -> None:
        """Record figures on test of a trial, which has ended and takes none itself."""
        with self._held():
            self.study.set_user_attr("test", {**self.tested(), str(number): dict(figures)})

    @contextmanager
    def _held(self) -> Iterator[None]:
        with self.store.lock(), quiet():
            yield

    def _mark(self, trial: Any, name: str, value: Any) -> None:
        self.storage.set_trial_user_attr(trial._trial_id, name, value)

    def _agree(self) -> None:
        """What was asked for before must be asked for again, once a trial has shown anything."""
        before, asked = self.study.user_attrs.get("asked"), self.asked.fixed()
        if before is not None:
            free = () if self._has_shown() else ("monitor", "value")
            check_same({**before, **{name: asked[name] for name in free}}, asked, self.store.said)
        self.study.set_user_attr("asked", asked)

    def _has_shown(self) -> bool:
        return any(trial.intermediate_values or trial.value is not None for trial in self.trials())

    def _queue_grid(self) -> None:
        if self.asked.sampler != "grid":
            return
        there = {trial.user_attrs["grid"] for trial in self.trials() if "grid" in trial.user_attrs}
        for place, params in enumerate(grid_of(self.asked.space)[: self.asked.trials]):
            if place not in there:
                self.study.enqueue_trial(params, user_attrs={"grid": place})

    def _take_back(self) -> None:
        trials = self.trials()
        repeated = {trial.user_attrs.get("again") for trial in trials}
        for trial in trials:
            if trial.state == State.RUNNING and self._is_left(trial):
                if trial.number not in repeated:
                    self.study.enqueue_trial(_params(trial), user_attrs={"again": trial.number})
                self._mark(trial, "lost", _why(trial))
                self.study.tell(trial.number, state=State.FAIL)

    def _is_left(self, trial: Any) -> bool:
        marks = trial.user_attrs
        if "owner" not in marks or "left" in marks:
            return True
        seen = marks.get("seen", trial.datetime_start.timestamp())
        return is_dead(marks["owner"], seen=seen, grace=self.asked.grace)


def is_dead(owner: Mapping[str, Any], *, seen: float, grace: float) -> bool:
    """Whether a process has ended: known at once on this machine, and taken for so elsewhere after a silence.

    Args:
        owner: what ``this_process`` gave there.
        seen: when it last gave a sign of life, in seconds since the epoch.
        grace: seconds of silence after which a process of another machine is taken for dead.
    """
    ended = has_ended(owner)
    return time.time() - seen > grace if ended is None else ended


def _params(trial: Any) -> dict[str, Any]:
    """What to try again.

    All of it where there is an owner, which is set last; else what was queued, and a draw with the same seed.
    """
    queued: dict[str, Any] = trial.system_attrs.get("fixed_params", {})
    return {**queued, **trial.params} if "owner" in trial.user_attrs else queued


def _why(trial: Any) -> str:
    if "left" in trial.user_attrs:
        return "it was broken off"
    owner = trial.user_attrs.get("owner")
    return "its process ended" if owner is None else f"its process {owner['pid']} on {owner['host']} ended"
