"""How long a run took, in figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lightning_posttrain.core.output.result import undefined_to_none
from lightning_posttrain.profile.training_time import EpochSeconds, Reached, TrainingTime


@dataclass(frozen=True)
class RunTime:
    """Seconds of a fit, of all its parts where it was resumed.

    Args:
        training: seconds from the start of training on, without validation.
        validation: seconds of validations in between.
        epochs: seconds of each.
        rows_a_second: by ``"training"``, ``"validation"`` and ``"test"``, each by its own seconds,
            callbacks included; the rows of all ranks.
        targets: what is wanted of a metric, by name.
        reached: when that was first so.
        shares: when a metric first had 90, 95 and 99 % of its best value, by name and percent.
    """

    training: float
    validation: float
    epochs: tuple[EpochSeconds, ...] = ()
    rows_a_second: Mapping[str, float] = field(default_factory=dict)
    targets: Mapping[str, float] = field(default_factory=dict)
    reached: Mapping[str, Reached] = field(default_factory=dict)
    shares: Mapping[str, Mapping[int, Reached]] = field(default_factory=dict)

    @property
    def total(self) -> float:
        """Seconds of training and validation."""
        return self.training + self.validation

    def to_dict(self) -> dict[str, Any]:
        """Plain values that JSON takes."""
        return {
            "training": self.training, "validation": self.validation, "epochs": [list(one) for one in self.epochs],
            "rows_a_second": undefined_to_none(self.rows_a_second), "targets": dict(self.targets),
            "reached": {name: vars(one) for name, one in self.reached.items()},
            "shares": {name: {str(p): vars(one) for p, one in each.items()} for name, each in self.shares.items()},
        }  # fmt: skip

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> RunTime:
        """What ``to_dict`` gave."""
        rows = {name: float("nan") if one is None else one for name, one in saved["rows_a_second"].items()}
        shares = {name: {int(p): Reached(**one) for p, one in each.items()} for name, each in saved["shares"].items()}
        return cls(
            saved["training"], saved["validation"], tuple(EpochSeconds(*one) for one in saved["epochs"]), rows,
            saved["targets"], {name: Reached(**one) for name, one in saved["reached"].items()}, shares,
        )  # fmt: skip


def run_time(
    time: TrainingTime, targets: Mapping[str, float], followed: Sequence[str], speed: Mapping[str, float]
) -> RunTime:
    """The figures of what was noted.

    Args:
        time: what was noted.
        targets: by metric.
        followed: metrics whose shares of the best value are wanted.
        speed: rows a second by what was done; NaN where it was not.
    """
    return RunTime(
        time.seconds["training"], time.seconds["validation"], time.epochs(), speed, dict(targets),
        {name: time.seconds_to(name, target) for name, target in targets.items()},
        {name: time.seconds_to_shares(name) for name in followed},
    )  # fmt: skip
