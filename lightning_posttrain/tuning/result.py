"""The result of a hyper-parameter search: its trials, and what they say together."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any, ClassVar, Literal, final

from lightning_posttrain.core.output.result import undefined_to_none
from lightning_posttrain.tuning.importance import Importance, importance_of
from lightning_posttrain.tuning.space import described_space, space_of
from lightning_posttrain.tuning.table import named_rows, text_table
from lightning_posttrain.tuning.wording import notes_of, words_of

Status = Literal["complete", "pruned", "failed", "running", "waiting"]
Mode = Literal["min", "max"]


@final
@dataclass(frozen=True)
class Trial:
    """One setting that was tried.

    Args:
        number: in the order of their beginnings, from 0.
        params: what was tried, by name.
        status: how it ended, if it did.
        value: of the monitored figure; None where it gave none.
        step: training step of the value.
        seconds: how long it took.
        reason: why it failed or was pruned.
        again: number of the trial that it repeats, as one whose process was killed.
        figures: everything that was logged last, by name.
        test: figures of a test of it, by name.
        folder: its own, from the study's folder on.
        curve: values that were reported, by training step.
    """

    number: int
    params: Mapping[str, Any] = field(default_factory=dict)
    status: Status = "waiting"
    value: float | None = None
    step: int | None = None
    seconds: float | None = None
    reason: str = ""
    again: int | None = None
    figures: Mapping[str, float] = field(default_factory=dict)
    test: Mapping[str, float] = field(default_factory=dict)
    folder: str = ""
    curve: Mapping[int, float] = field(default_factory=dict)

    @property
    def shown(self) -> float | None:
        """The value, or the last one reported; None where neither is a finite number."""
        last = self.curve[max(self.curve)] if self.curve else None
        value = last if self.value is None else self.value
        return value if value is not None and math.isfinite(value) else None

    @property
    def counts(self) -> bool:
        """Whether it is complete, with a value that may be compared."""
        return self.status == "complete" and self.value is not None and math.isfinite(self.value)

    def to_dict(self) -> dict[str, Any]:
        """Plain values that JSON takes; NaN and infinities are None."""
        plain: dict[str, Any] = undefined_to_none({part.name: getattr(self, part.name) for part in fields(self)})
        return {**plain, "curve": {str(step): value for step, value in plain["curve"].items()}}

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> Trial:
        """What ``to_dict`` gave; figures that were None are NaN."""
        kept = {part.name: state[part.name] for part in fields(cls) if part.name in state}
        for name in {"figures", "test"} & set(kept):
            kept[name] = {key: _number(value) for key, value in kept[name].items()}
        kept["curve"] = {int(step): _number(value) for step, value in kept.get("curve", {}).items()}
        return cls(**kept)


def _number(value: float | None) -> float:
    return math.nan if value is None else value


@final
@dataclass(frozen=True)
class Study:
    """A search over settings: what was tried, what it gave, and the best.

    The figure of the best trial is optimistic: it was chosen by that figure. Report the one on test beside it.

    Args:
        name: of the study.
        monitor: the figure that trials are compared by, as ``"val/log_loss"``.
        mode: ``"min"`` where less is better, ``"max"`` where more is.
        space: what may be tried, by name: ``(low, high)``, ``(low, high, "log")`` or a list of choices.
        sampler: who chose the settings, as ``"tpe"``.
        pruner: who ended trials early, as ``"median"``.
        trials: by their numbers.
        folder: where files are.

    Example:
        >>> trials = [Trial(0, {"lr": 0.1}, "complete", 0.7), Trial(1, {"lr": 0.01}, "complete", 0.5)]
        >>> study = Study("digits", "val_loss", "min", {"lr": (0.001, 1.0, "log")}, "random", "none", tuple(trials))
        >>> study.best.params
        {'lr': 0.01}
        >>> print(study)  # doctest: +ELLIPSIS
        Study digits: trial 1 is the best of 2 complete ones: val_loss 0.5 with lr 0.01. ...
    """

    recorded_as: ClassVar[str] = "study"

    name: str
    monitor: str
    mode: Mode
    space: Mapping[str, Any]
    sampler: str
    pruner: str
    trials: tuple[Trial, ...]
    folder: str = ""

    @property
    def sign(self) -> int:
        """1 where less is better, -1 where more is."""
        return -1 if self.mode == "max" else 1

    @property
    def ranked(self) -> tuple[Trial, ...]:
        """Complete trials, the best first; of equal values the earlier."""
        done = (trial for trial in self.trials if trial.counts)
        return tuple(sorted(done, key=lambda trial: (self.sign * (trial.value or 0.0), trial.number)))

    @property
    def best(self) -> Trial:
        """The complete trial with the best value.

        Raises:
            ValueError: no trial is complete.
        """
        if not self.ranked:
            why = f"{self.words} See `notes` for the reasons of failures."
            raise ValueError(f"study {self.name!r} has no best trial: {why}")
        return self.ranked[0]

    @property
    def table(self) -> list[dict[str, Any]]:
        """A row for each trial: number, status, value, each parameter, step, seconds, figures on test, reason."""
        return [dict(zip(names, cells, strict=True)) for names, cells in named_rows(self)]

    @property
    def importance(self) -> dict[str, float] | None:
        """Share of each parameter in what tells the best trials from the others, the largest first; they add up to 1.

        By PED-ANOVA (Watanabe, Bansal and Hutter, 2023, arXiv:2304.10255) of Optuna. None with fewer than ten complete
        trials, with one parameter that varies, and without Optuna; ``notes`` say which.
        """
        return self.importance_found.shares

    @cached_property
    def importance_found(self) -> Importance:
        """Importance, or why there is none."""
        return importance_of(self)

    @property
    def words(self) -> str:
        """The winner, how far it is ahead, how trials ended, and validation against test, in sentences."""
        return words_of(self)

    @property
    def notes(self) -> tuple[str, ...]:
        """What is to be known beside the figures: failures and their reasons, random trials, optimism, importance."""
        return notes_of(self)

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values that JSON takes, with the number of the best trial, importance and words."""
        found = {part.name: getattr(self, part.name) for part in fields(self)}
        found["space"] = described_space(self.space)
        found["trials"] = [trial.to_dict() for trial in self.trials]
        best = self.ranked[0].number if self.ranked else None
        more = {"importance": self.importance, "words": self.words, "notes": list(self.notes)}
        return {"kind": self.recorded_as, **found, "best": best, **more}

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> Study:
        """What ``to_dict`` gave."""
        kept = {part.name: state[part.name] for part in fields(cls)}
        trials = tuple(Trial.from_dict(trial) for trial in state["trials"])
        return cls(**{**kept, "space": space_of(state["space"]), "trials": trials})

    def __str__(self) -> str:
        return "\n".join([f"Study {self.name}: {self.words}", "", text_table(self), "", *self.notes]).rstrip()
