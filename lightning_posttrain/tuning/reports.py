"""What a running trial tells its study: values, and that its process lives."""

from __future__ import annotations

import math
import os
import time
from typing import Any, final

from lightning_posttrain.tuning.backend import quiet
from lightning_posttrain.tuning.samplers import WARM_UP
from lightning_posttrain.tuning.storage import StudyStore


@final
class Reports:
    """The line from one trial to its study.

    A rank in a process of its own, forked or spawned, opens the storage for itself: what it would keep in attributes is
    lost with it.

    Args:
        store: where the study is.
        number: of the trial.
        monitor: name of the figure.
        every: seconds from one sign of life to the next.
    """

    def __init__(self, store: StudyStore, number: int, *, monitor: str, every: float) -> None:
        self.store = store
        self.number = number
        self.monitor = monitor
        self.every = every
        self._beaten = time.monotonic()
        self._opened: tuple[int, Any, Any, int] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_opened": None}

    def judge(self, value: float, step: int) -> bool:
        """Record a value; whether the trial is to end here."""
        study, storage, key = self._line()
        if not math.isfinite(value):
            return self._stop(f"`{self.monitor}` is {value} at step {step}", step)
        storage.set_trial_intermediate_value(key, step, value)
        trial = storage.get_trial(key)
        if len(trial.intermediate_values) <= WARM_UP.get(self.store.pruner, 0):
            return False
        with quiet():
            ends = study.pruner.prune(study, trial)
        return self._stop(f"ended by `pruner={self.store.pruner!r}` at step {step}", step) if ends else False

    def beat(self) -> None:
        """Give a sign of life, where one is due: processes on other machines go by it."""
        if time.monotonic() - self._beaten >= self.every:
            self._beaten = time.monotonic()
            _, storage, key = self._line()
            storage.set_trial_user_attr(key, "seen", time.time())

    def curve(self) -> dict[int, float]:
        """What was recorded, by training step."""
        _, storage, key = self._line()
        return dict(sorted(storage.get_trial(key).intermediate_values.items()))

    def stopped(self) -> tuple[str, int] | None:
        """Why and at which step the trial was told to end; None where it was not."""
        _, storage, key = self._line()
        found = storage.get_trial(key).user_attrs.get("stopped")
        return None if found is None else (found[0], found[1])

    def _stop(self, reason: str, step: int) -> bool:
        _, storage, key = self._line()
        storage.set_trial_user_attr(key, "stopped", [reason, step])
        return True

    def _line(self) -> tuple[Any, Any, int]:
        """The study, its storage and the trial's key there, opened once in each process."""
        if self._opened is None or self._opened[0] != os.getpid():
            with quiet():
                study, storage = self.store.open()
            key = storage.get_trial_id_from_study_id_trial_number(study._study_id, self.number)
            self._opened = (os.getpid(), study, storage, key)
        return self._opened[1:]
