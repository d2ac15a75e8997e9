"""When a metric came to which value, in bounded memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, final

import torch
from torch import Tensor

from lightning_posttrain.core.callback.kept_form import dict_of, number_of

Mode = Literal["min", "max"]
POINTS = 256
"""Points of a curve that are kept at least, once there are so many; twice as many at most."""
RECORDS = 256
"""Improvements that are kept at most."""


class Point(NamedTuple):
    """A value of a metric.

    Args:
        seconds: of the run so far.
        epoch: from 0 on.
        step: of the optimizer.
        value: of the metric.
    """

    seconds: float
    epoch: float
    step: float
    value: float


@final
class Thinned:
    """Rows of numbers in the order of their coming; of many rows every second, fourth, … and the last."""

    def __init__(self, width: int) -> None:
        self._width = width
        self._rows: list[tuple[float, ...]] = []
        self._count = 0
        self._every = 1
        self._last: tuple[float, ...] | None = None

    @property
    def rows(self) -> list[tuple[float, ...]]:
        """What is kept."""
        last = [] if self._last is None or self._last == self._rows[-1] else [self._last]
        return [*self._rows, *last]

    @property
    def last(self) -> tuple[float, ...] | None:
        """The row that came last."""
        return self._last

    def add(self, row: tuple[float, ...]) -> None:
        """Take a row."""
        self._last = row
        if self._count % self._every == 0:
            self._rows.append(row)
        self._count += 1
        if len(self._rows) > 2 * POINTS:
            self._rows, self._every = self._rows[::2], 2 * self._every

    def to_dict(self) -> dict[str, Any]:
        """Plain values and tensors."""
        last = [] if self._last is None else [self._last]
        return {"rows": table(self._rows, self._width), "last": table(last, self._width), "count": self._count}

    @classmethod
    def from_dict(cls, state: Mapping[str, Any], width: int) -> Thinned:
        """What ``to_dict`` gave.

        Raises:
            ValueError: it is of another form.
        """
        made = cls(width)
        made._rows, last = rows_of(state, "rows", width), rows_of(state, "last", width)
        made._count = number_of(state, "count", int, least=len(made._rows))
        numbers = (len(made._rows), len(last), made._count)
        if len(set(map(bool, numbers))) > 1 or len(last) > 1 or len(made._rows) > 2 * POINTS:
            raise ValueError(
                f"'rows', 'last' and 'count' tell of {numbers} rows, wanted one in 'last' and some in all."
            )
        made._last = last[0] if last else None
        while made._every * len(made._rows) < made._count:
            made._every *= 2
        return made


@final
class MetricHistory:
    """The values of one metric: its curve, thinned out, and each improvement, downwards and upwards.

    Only improvements are needed to tell when a target was first met. Beyond 256 of them the smallest are left out, so
    that a target may be found a little late, at the next improvement, and never early.
    """

    def __init__(self) -> None:
        self.curve = Thinned(len(Point._fields))
        self._records: dict[Mode, list[Point]] = {"min": [], "max": []}

    def add(self, point: Point) -> None:
        """Take a value; one that repeats the last says nothing."""
        if self.curve.last is not None and self.curve.last[-1] == point.value:
            return
        self.curve.add(point)
        for mode, records in self._records.items():
            if not records or is_met(point.value, records[-1].value, mode):
                records.append(point)
            if len(records) > RECORDS:
                del records[_smallest_gain(records)]

    def best(self, mode: Mode) -> Point:
        """The best value, where it was first."""
        return self._records[mode][-1]

    def first(self, target: float, mode: Mode) -> Point | None:
        """Where a target was first met."""
        return next((point for point in self._records[mode] if is_met(point.value, target, mode)), None)

    def to_dict(self) -> dict[str, Any]:
        """Plain values and tensors."""
        records: dict[str, Any] = {mode: table(one, len(Point._fields)) for mode, one in self._records.items()}
        return {"curve": self.curve.to_dict(), **records}

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> MetricHistory:
        """What ``to_dict`` gave.

        Raises:
            ValueError: it is of another form.
        """
        made = cls()
        made.curve = Thinned.from_dict(dict_of(state.get("curve"), "'curve'"), len(Point._fields))
        for mode in made._records:
            made._records[mode] = [Point(*row) for row in rows_of(state, mode, len(Point._fields))]
            if len(made._records[mode]) > RECORDS or bool(made._records[mode]) != bool(made.curve.rows):
                raise ValueError(f"{mode!r} has {len(made._records[mode])} rows, wanted 1 to {RECORDS}.")
        return made


def is_met(value: float, target: float, mode: Mode) -> bool:
    """Whether a value is as good as a target."""
    return value >= target if mode == "max" else value <= target


def _smallest_gain(records: list[Point]) -> int:
    """The improvement that is missed least; neither the first nor the last."""
    return min(range(1, len(records) - 1), key=lambda i: abs(records[i].value - records[i - 1].value))


def table(rows: list[Any], width: int) -> Tensor:
    """Rows of numbers as a tensor ``(N, width)`` of float64."""
    return torch.tensor(rows, dtype=torch.float64).reshape(len(rows), width)


def rows_of(state: Mapping[str, Any], name: str, width: int) -> list[tuple[float, ...]]:
    """The rows of a tensor of a state.

    Raises:
        ValueError: there is none ``(N, width)`` of finite float64.
    """
    found = state.get(name)
    if not isinstance(found, Tensor) or found.is_meta or found.dtype != torch.float64 or found.ndim != 2:
        raise ValueError(f"{name!r} is {type(found).__name__}, wanted a tensor (N, {width}) of float64.")
    if found.shape[1] != width or not found.isfinite().all():
        raise ValueError(f"{name!r} is of shape {tuple(found.shape)}, wanted (N, {width}) of finite numbers.")
    return [tuple(row) for row in found.tolist()]
