"""How long a run trains, and how long until a metric is as good as wanted."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, final

from lightning_posttrain.core.callback.kept_form import dict_of, number_of
from lightning_posttrain.profile.metric_history import MetricHistory, Mode, Point, Thinned

Phase = Literal["training", "validation"]
PHASES: tuple[Phase, ...] = ("training", "validation")
SHARES = (90, 95, 99)
"""Percent of the best value."""
NAMES = 64
"""Metrics that are followed unasked at most."""
SHOWN = 10
"""Metrics that a sentence names."""
_LOW_IS_GOOD = ("loss", "error")


@final
@dataclass(frozen=True)
class Reached:
    """When a target was first met.

    Args:
        seconds: of the run until then, validation included; None where it was not met.
        epoch: from 0 on.
        step: of the optimizer.
        reason: why there are no seconds, without a full stop.
    """

    seconds: float | None
    epoch: int | None = None
    step: int | None = None
    reason: str = ""


class EpochSeconds(NamedTuple):
    """Seconds of one epoch; a mean over the epochs since the row before, where a long run's rows were thinned out.

    Args:
        epoch: from 0 on.
        training: seconds.
        validation: seconds.
    """

    epoch: int
    training: float
    validation: float


@final
class TrainingTime:
    """Seconds and rows of a run since ``on_train_start``, its earlier parts included where it was resumed.

    Training and validation are counted apart; the sanity check is before the start. What a run that broke off did after
    its last checkpoint is in no figure of the run that goes on from it. Each method takes the time ``now``, in seconds
    from any moment on.

    Metrics are followed at the end of each validation and each training epoch: those that ``modes`` names, and others
    as they come until there are 64; each by 512 points and 256 improvements at most.

    Args:
        modes: by metric, whether it is to become small, ``"min"``, or large, ``"max"``. Default: "min" where "loss" or
            "error" is in its name, else "max".

    Attributes:
        seconds: by ``"training"`` and ``"validation"``, until the last event.
        rows: the same, of samples.
    """

    def __init__(self, modes: Mapping[str, Mode] | None = None) -> None:
        self.modes: dict[str, Mode] = dict(modes or {})
        self.seconds: dict[Phase, float] = dict.fromkeys(PHASES, 0.0)
        self.rows: dict[Phase, int] = dict.fromkeys(PHASES, 0)
        self._phase: Phase | None = None
        self._since = 0.0
        self._epochs = Thinned(3)
        self._metrics: dict[str, MetricHistory] = {}

    # events

    def train_start(self, now: float) -> None:
        """Begin, or go on."""
        self._phase, self._since = "training", now

    def saw(self, rows: int) -> None:
        """Count the rows of a step; those of a sanity check are not counted."""
        if self._phase is not None:
            self.rows[self._phase] += rows

    def validation_start(self, now: float) -> None:
        """Validate, in a fit; any other validation is not of the run."""
        self._turn(now, "validation")

    def validation_end(self, now: float, *, epoch: int, step: int, values: Mapping[str, float]) -> None:
        """Go on with training."""
        if self._phase is not None:
            self._turn(now, "training")
            self._follow(epoch, step, values)

    def epoch_end(self, now: float, *, epoch: int, step: int, values: Mapping[str, float]) -> None:
        """End a training epoch."""
        if self._phase is not None:
            self._turn(now, "training")
            self._follow(epoch, step, values)
            self._epochs.add((epoch, *self.seconds.values()))

    def train_end(self, now: float) -> None:
        """End the run."""
        self._turn(now, None)
        self._phase = None

    def _turn(self, now: float, phase: Phase | None) -> None:
        if self._phase is not None:
            self.seconds[self._phase] += now - self._since
            self._phase, self._since = phase, now

    def _follow(self, epoch: int, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            known = name in self._metrics or name in self.modes or len(self._metrics) < NAMES
            if known and math.isfinite(value):
                self._metrics.setdefault(name, MetricHistory()).add(Point(self.total, epoch, step, float(value)))

    # figures

    @property
    def total(self) -> float:
        """Seconds until the last event, training and validation."""
        return sum(self.seconds.values())

    def epochs(self) -> tuple[EpochSeconds, ...]:
        """Seconds by epoch."""
        found, before = [], (-1.0, 0.0, 0.0)
        for row in self._epochs.rows:
            many = max(row[0] - before[0], 1)
            found.append(EpochSeconds(int(row[0]), (row[1] - before[1]) / many, (row[2] - before[2]) / many))
            before = (row[0], row[1], row[2])
        return tuple(found)

    def curve(self, name: str) -> tuple[Point, ...]:
        """Values of a metric over the run; of one that was not logged none."""
        return tuple(Point(*row) for row in self._metrics[name].curve.rows) if name in self._metrics else ()

    def mode_of(self, name: str) -> Mode:
        """Whether a metric is to become small or large."""
        by_name: Mode = "min" if any(word in name.lower() for word in _LOW_IS_GOOD) else "max"
        return self.modes.get(name, by_name)

    def seconds_to(self, name: str, target: float, mode: Mode | None = None) -> Reached:
        """Seconds of the run until a metric was first as good as a target, or why there are none."""
        mode = mode or self.mode_of(name)
        if name not in self._metrics:
            return Reached(None, reason=self._never_logged(name))
        point = self._metrics[name].first(target, mode)
        if point is None:
            best = self._metrics[name].best(mode)
            came = f"its best was {best.value:.4g}, in epoch {int(best.epoch)}"
            return Reached(None, reason=f"{name!r} did not come to {target:.4g}; {came}")
        return Reached(point.seconds, int(point.epoch), int(point.step))

    def seconds_to_shares(self, name: str, mode: Mode | None = None) -> dict[int, Reached]:
        """Seconds of the run until a metric first had 90, 95 and 99 percent of its best value.

        Of a metric that is to become small, until it was no more than the best by 0.9, 0.95 and 0.99.
        """
        mode = mode or self.mode_of(name)
        best = self._metrics[name].best(mode).value if name in self._metrics else 1.0
        if best <= 0:
            reason = f"the best {name!r} is {best:.4g}, and only of a value above 0 there is a share to come to"
            return {percent: Reached(None, reason=reason) for percent in SHARES}
        targets = {percent: best * percent / 100 if mode == "max" else best * 100 / percent for percent in SHARES}
        return {percent: self.seconds_to(name, target, mode) for percent, target in targets.items()}

    def _never_logged(self, name: str) -> str:
        if not self._metrics:
            return f"{name!r} was not logged by the end of a validation or an epoch, nor was anything else"
        near = difflib.get_close_matches(name, self._metrics, 1, cutoff=0.4)
        meant = f"; did you mean {near[0]!r}?" if near else "."
        first, more = sorted(self._metrics)[:SHOWN], len(self._metrics) - SHOWN
        logged = ", ".join(map(repr, first)) + (f" and {more} more" if more > 0 else "")
        return f"{name!r} was not logged by the end of a validation or an epoch{meant} Logged: {logged}"

    # what a checkpoint takes

    def to_dict(self, now: float) -> dict[str, Any]:
        """Plain values and tensors, for ``restore``; what is under way is counted until now."""
        open_seconds = {self._phase: now - self._since}
        return {
            "seconds": {phase: self.seconds[phase] + open_seconds.get(phase, 0.0) for phase in PHASES},
            "rows": dict(self.rows),
            "epochs": self._epochs.to_dict(),
            "metrics": {name: one.to_dict() for name, one in self._metrics.items()},
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what ``to_dict`` gave; all is checked before any of it is taken.

        Raises:
            ValueError: it is of another form.
        """
        seconds, rows = dict_of(state.get("seconds"), "'seconds'"), dict_of(state.get("rows"), "'rows'")
        passed = {phase: float(number_of(seconds, phase, float, least=0)) for phase in PHASES}
        counted = {phase: number_of(rows, phase, int, least=0) for phase in PHASES}
        epochs = Thinned.from_dict(dict_of(state.get("epochs"), "'epochs'"), 3)
        saved = dict_of(state.get("metrics"), "'metrics'")
        metrics = {name: MetricHistory.from_dict(dict_of(one, name)) for name, one in saved.items()}
        if not all(map(math.isfinite, passed.values())):
            raise ValueError(f"'seconds' is {passed}, wanted finite ones.")
        self.seconds, self.rows, self._epochs, self._metrics = passed, counted, epochs, metrics


def monitored_modes(callbacks: Iterable[Any]) -> dict[str, Mode]:
    """What callbacks monitor, as checkpoints and early stopping do, by what they say it is to become."""
    found: dict[str, Mode] = {}
    for callback in callbacks:
        name, mode = getattr(callback, "monitor", None), getattr(callback, "mode", None)
        if isinstance(name, str) and mode in ("min", "max"):
            found.setdefault(name, mode)
    return found
