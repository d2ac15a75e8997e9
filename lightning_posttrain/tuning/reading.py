"""A study as its files and users see it, out of the storage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lightning_posttrain.tuning.asked import Asked
from lightning_posttrain.tuning.backend import optuna
from lightning_posttrain.tuning.result import Status, Study, Trial

STATES: Mapping[Any, Status] = {
    optuna.trial.TrialState.COMPLETE: "complete",
    optuna.trial.TrialState.PRUNED: "pruned",
    optuna.trial.TrialState.FAIL: "failed",
    optuna.trial.TrialState.RUNNING: "running",
    optuna.trial.TrialState.WAITING: "waiting",
}


def study_of(name: str, asked: Asked, trials: Sequence[Any], tested: Mapping[str, Mapping[str, float]]) -> Study:
    """The study in plain values.

    Args:
        name: of the study.
        asked: what it is for.
        trials: of the storage.
        tested: figures on test, by the number of the trial.
    """
    repeats = {trial.user_attrs["again"]: trial.number for trial in trials if "again" in trial.user_attrs}
    return Study(
        name=name,
        monitor=asked.monitor,
        mode=asked.mode,
        space=dict(asked.space),
        sampler=asked.sampler,
        pruner=asked.pruner,
        trials=tuple(trial_of(trial, repeats, tested.get(str(trial.number), {})) for trial in trials),
        folder=str(asked.folder),
    )


def trial_of(trial: Any, repeats: Mapping[int, int], test: Mapping[str, float]) -> Trial:
    """A trial in plain values."""
    marks = trial.user_attrs
    ended = marks.get("outcome", {}) if trial.state.is_finished() else {}
    status = STATES[trial.state]
    return Trial(
        number=trial.number,
        params=dict(trial.params) or dict(trial.system_attrs.get("fixed_params", {})),
        status=status,
        value=trial.value if status == "complete" else None,
        step=ended.get("step"),
        seconds=None if trial.duration is None else trial.duration.total_seconds(),
        reason=_lost(marks["lost"], repeats[trial.number]) if "lost" in marks else ended.get("reason", ""),
        again=marks.get("again"),
        figures=ended.get("figures", {}),
        test=dict(test),
        folder=ended.get("folder", ""),
        curve={int(step): value for step, value in sorted(trial.intermediate_values.items())},
    )


def _lost(why: str, again: int) -> str:
    return f"{why} before it did; trial {again} repeats it"
