"""Where values and parameters lie in a picture of a study."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from lightning_posttrain.core.drawing.canvas import Color, shorten, width_of
from lightning_posttrain.core.drawing.number_format import paler
from lightning_posttrain.core.drawing.plot import COLORS, Marks, ticks
from lightning_posttrain.tuning.space import distinct, range_of

if TYPE_CHECKING:
    from lightning_posttrain.tuning.result import Study, Trial

COMPLETE, BEST, FAILED = COLORS[0], COLORS[1], COLORS[3]
PRUNED: Color = (176, 184, 194)
SMALL, TICK, GAP = 20, 18, 8
MANY = 60
"""Trials from which on dots are smaller."""


@dataclass(frozen=True)
class Values:
    """The trials of a study that have a value, and the range that is drawn.

    Values far worse than the others are drawn at its edge: farther from the quartile than one and a half times the
    distance of the quartiles.
    """

    study: Study

    @cached_property
    def shown(self) -> list[tuple[Trial, float]]:
        """Complete and pruned trials with their values, pruned ones first, the best last."""
        found = [(t, t.shown) for t in self.study.trials if t.counts or t.status == "pruned"]
        valued = [(trial, value) for trial, value in found if value is not None]
        best = self.study.ranked[:1]
        return sorted(valued, key=lambda pair: (pair[0] in best, pair[0].status == "complete"))

    @cached_property
    def failed(self) -> list[Trial]:
        """Those that failed, and complete ones without a number."""
        return [t for t in self.study.trials if t.status == "failed" or (t.status == "complete" and not t.counts)]

    @cached_property
    def range(self) -> tuple[float, float]:
        """What is drawn, lower end first, with some room."""
        sign = self.study.sign
        losses = sorted(sign * value for _, value in self.shown)
        if not losses:
            return 0.0, 1.0
        lower, upper = (losses[round(share * (len(losses) - 1))] for share in (0.25, 0.75))
        usual = [loss for loss in losses if loss <= upper + 1.5 * (upper - lower)]
        room = 0.08 * (usual[-1] - usual[0]) or 0.05 * abs(usual[0]) or 1.0
        low, high = sorted((sign * (usual[0] - room), sign * (usual[-1] + room)))
        return low, high

    @property
    def beyond(self) -> int:
        """How many lie at the edge."""
        low, high = self.range
        return sum(not low <= value <= high for _, value in self.shown)

    def within(self, value: float) -> float:
        """A value, or near the edge that it lies beyond, where its dot is whole."""
        low, high = self.range
        room = 0.03 * (high - low)
        return min(max(value, low + room), high - room)

    @property
    def worse_edge(self) -> float:
        """The end of the range where values are worse."""
        return self.range[1] if self.study.sign > 0 else self.range[0]

    def color(self, trial: Trial) -> Color:
        """Of the dot of a trial."""
        if trial in self.study.ranked[:1]:
            return BEST
        return COMPLETE if trial.status == "complete" else PRUNED

    @property
    def dot(self) -> float:
        """Width of a dot of one among so many."""
        return 2.0 if len(self.shown) <= MANY else 0.8

    @property
    def entries(self) -> list[tuple[Color, str]]:
        """What the colours mean, of those that are there."""
        states = {trial.status for trial, _ in self.shown}
        count = len(self.failed)
        said = [
            (BEST, _best(self.study), bool(self.study.ranked)),
            (COMPLETE, "complete", len(self.study.ranked) > 1),
            (PRUNED, "pruned, the last value that was reported", "pruned" in states),
            (FAILED, f"{count} failed: no value", count > 0),
        ]
        return [(color, text) for color, text, there in said if there]

    @property
    def edge_note(self) -> str:
        """How many lie at the edge, in a sentence."""
        if not self.beyond:
            return ""
        return f"{self.beyond} far worse value{'s lie' if self.beyond > 1 else ' lies'} at the edge."


def _best(study: Study) -> str:
    return f"the best: trial {study.ranked[0].number}, {study.ranked[0].value:.4g}" if study.ranked else ""


def direction(study: Study) -> str:
    """Which values are better, in words."""
    return "less is better" if study.sign > 0 else "more is better"


@dataclass(frozen=True)
class Scale:
    """Where the values of one parameter lie, from 0 to 1.

    Args:
        wanted: what the space says of it.
        tried: values of the trials.
    """

    wanted: Any
    tried: tuple[Any, ...]

    @cached_property
    def _numbers(self) -> tuple[float, float] | None:
        found = range_of(self.wanted)
        numeric = all(map(_is_number, self.tried))
        return (min(found.low, *self.tried), max(found.high, *self.tried)) if found and numeric and self.tried else None

    @cached_property
    def _choices(self) -> list[Any]:
        return distinct([*(self.wanted if isinstance(self.wanted, list) else ()), *self.tried])

    @property
    def _log(self) -> bool:
        found = range_of(self.wanted)
        return found is not None and found.log and self._numbers is not None and self._numbers[0] > 0

    def place(self, value: Any, shift: float = 0.0) -> float:
        """Where a value lies; of a choice ``shift`` of its room beside its middle."""
        if self._numbers is None:
            number = next(n for n, other in enumerate(self._choices) if type(other) is type(value) and other == value)
            return (number + 0.5 + shift) / len(self._choices)
        return self._share(float(value))

    def _share(self, value: float) -> float:
        low, high = self._ends
        at = math.log(value) if self._log else value
        return 0.04 + 0.92 * (at - low) / (high - low) if high > low else 0.5

    @property
    def _ends(self) -> tuple[float, float]:
        low, high = self._numbers or (0.0, 1.0)
        return (math.log(low), math.log(high)) if self._log else (low, high)

    def marks(self, room: float) -> Marks:
        """Places and texts of ticks on an axis of so many pixels."""
        if self._numbers is None:
            return _choice_marks(self._choices, room)
        low, high = self._numbers
        found = range_of(self.wanted)
        whole = found is not None and found.whole
        if self._log:
            values = _log_ticks(low, high)
        else:
            values = ticks(low, high, most=5, least=1.0 if whole else 0.0) if high > low else [low]
        return _spread([(self._share(value), short(value)) for value in values], room)

    def fits(self, room: float) -> bool:
        """Whether every choice can be written on an axis of so many pixels; a range always can."""
        each = room / max(len(self._choices), 1)
        return self._numbers is not None or all(width_of(short(choice), TICK) <= each - GAP for choice in self._choices)


def _choice_marks(choices: Sequence[Any], room: float) -> Marks:
    """Texts are shortened where they would touch, numbers left out."""
    each = room / max(len(choices), 1)
    texts = [short(choice) if _is_number(choice) else shorten(short(choice), each - GAP, TICK) for choice in choices]
    return _spread([((number + 0.5) / len(texts), text) for number, text in enumerate(texts)], room)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten in a range; where there are fewer than three, also their twofold and fivefold."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    for factors in ((1,), (1, 2, 5), (1, 2, 3, 4, 5, 6, 7, 8, 9)):
        found = [10.0**power * factor for power in range(first, last + 1) for factor in factors]
        inside = [value for value in found if low * 0.999999 <= value <= high * 1.000001]
        if len(inside) >= 3:
            return inside
    return [low, high] if high > low else [low]


def _spread(marks: Marks, room: float) -> Marks:
    """The marks, without the texts of those that would touch the one before."""
    kept: list[tuple[float, str]] = []
    end = -math.inf
    for place, text in marks:
        half = width_of(text, TICK) / 2
        fits = place * room - half > end + GAP
        kept.append((place, text if fits else ""))
        end = place * room + half if fits else end
    return kept


def short(value: Any) -> str:
    """A value of a parameter as a tick.

    Example:
        >>> short(0.00001), short(64), short("adam"), short(True)
        ('1e-5', '64', 'adam', 'True')
    """
    if not _is_number(value):
        return str(value)
    return f"{value:.3g}".replace("e-0", "e-").replace("e+0", "e") if abs(value) < 1e6 else f"{value:.2g}"


def faded(share: float) -> Color:
    """The colour of a line: strong for the best, 0, pale for the worst, 1."""
    return paler(COMPLETE, 0.15 + 0.72 * share)


def scales(study: Study) -> dict[str, Scale]:
    """The scale of each parameter that a trial has."""
    names = dict.fromkeys([*study.space, *(name for trial in study.trials for name in trial.params)])
    tried = {name: tuple(t.params[name] for t in study.trials if name in t.params) for name in names}
    return {name: Scale(study.space.get(name, []), tried[name]) for name in names if tried[name]}
