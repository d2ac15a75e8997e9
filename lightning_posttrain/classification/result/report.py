"""The report of a classifier."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor

from lightning_posttrain.core.output.deferred import Joined
from lightning_posttrain.core.output.restored import restored
from lightning_posttrain.core.output.result import undefined_to_none

Interval = tuple[float, float]
_SENTENCES = ("worth", "undefined", "alerts", "agreements")
OF_A_CLASS = "per_class/"
"""What names of figures of classes begin with."""
LISTED = 1000
"""With more classes than this, tables and files list those alone that have a figure."""


@dataclass(frozen=True, eq=False)
class ClassificationReport:
    """Figures of a classifier, named and defined as in scikit-learn.

    ``report["f1_macro"]`` is a figure of the whole set, ``report.per_class["f1"]`` one of each class.

    Args:
        class_names: ``C`` names of classes or labels.
        support: rows of each ``(C,)``, int64.
        overall: figures of the whole set by name; NaN where not defined.
        per_class: figures ``(C,)`` float64 by name; NaN where not defined.
        intervals: 95 % bootstrap interval of those of ``overall`` that follow from the counts.
        class_intervals: the same of ``per_class``, low and high ``(2, C)``.
        bounds: of areas under curves, what they are at least and at most; twice the same where they are exact.
        class_bounds: the same of ``per_class``, low and high ``(2, C)``.
        positions: whether several rows are of one sample, as pixels of an image.
        worth: what areas under curves are worth.
        undefined: which figures are not defined, or 0 by convention, and of which classes.
        alerts: which rows were left out, and why.
        agreements: which figures are the module's own too.
        absent: further classes, which had no row and were never predicted.
    """

    recorded_as: ClassVar[str] = "classification_report"

    class_names: tuple[str, ...]
    support: Tensor
    overall: Mapping[str, float]
    per_class: Mapping[str, Tensor]
    intervals: Mapping[str, Interval] = field(default_factory=dict)
    class_intervals: Mapping[str, Tensor] = field(default_factory=dict)
    bounds: Mapping[str, Interval] = field(default_factory=dict)
    class_bounds: Mapping[str, Tensor] = field(default_factory=dict)
    positions: bool = False
    worth: Sequence[str] = ()
    undefined: tuple[str, ...] = ()
    alerts: tuple[str, ...] = ()
    agreements: tuple[str, ...] = ()
    absent: int = 0

    def __getitem__(self, name: str) -> float:
        return self.overall[name]

    @property
    def notes(self) -> tuple[str, ...]:
        """All that a reader of the table must know."""
        together = "no intervals: the positions of one sample go together"
        positions = (together,) if self.positions else ()
        return (*self.alerts, *self.undefined, *self.worth, *positions, *self._unlisted, *self.agreements)

    @cached_property
    def listed(self) -> Tensor:
        """The classes that tables and files list, in order: of more than 1,000 those that have a figure."""
        known = [~values.isnan() for values in self.per_class.values()]
        if len(self.class_names) <= LISTED or not known:
            return torch.arange(len(self.class_names))
        return torch.stack(known).any(dim=0).nonzero()[:, 0]

    @property
    def _unlisted(self) -> tuple[str, ...]:
        left = self._left
        return (f"{left:,} classes that had no row and were never predicted are not listed",) if left else ()

    @property
    def _left(self) -> int:
        return len(self.class_names) - len(self.listed) + self.absent

    def scalars(self) -> dict[str, float]:
        """Every figure, those of classes as ``per_class/recall/cat``."""
        return dict(self.figures())

    def figures(self) -> Mapping[str, float]:
        """The same, of which each is worked out when it is first asked for."""
        return Joined(self.overall, self._of_classes(self.per_class))

    def doubts(self, among: Collection[str] | None = None) -> dict[str, float]:
        """By how much figures that are not exact are off at most, by the names of ``scalars``.

        Args:
            among: the names that are asked of. Default: all.
        """
        of_classes = among is None or any(name.startswith(OF_A_CLASS) for name in among)
        bounds = {name: ends.t() for name, ends in self.class_bounds.items()} if of_classes else {}
        ends: Joined[Sequence[float]] = Joined(self.bounds, self._of_classes(bounds))
        figures = self.figures() if of_classes else self.overall
        known = {name: (figures[name], *ends[name]) for name in ends if among is None or name in among}
        return {name: max(high - value, value - low) for name, (value, low, high) in known.items() if high > low}

    def _of_classes(self, columns: Mapping[str, Tensor]) -> dict[str, Any]:
        """What columns have of each class ``(C, ...)``, by the names of ``scalars``."""
        return {
            f"{OF_A_CLASS}{figure}/{name}": value
            for figure, values in columns.items()
            for name, value in zip(self.class_names, values.tolist(), strict=True)
        }

    def rows(self) -> list[tuple[Any, ...]]:
        """Name, support and figures of each class that is listed."""
        names = (self.class_names[i] for i in self.listed.tolist())
        columns = (values[self.listed].tolist() for values in (self.support, *self.per_class.values()))
        return list(zip(names, *columns, strict=True))

    def to_dict(self) -> dict[str, Any]:
        """Figures of the whole set, their intervals, then one record for each class."""
        keys = ("class", "support", *self.per_class)
        figures: dict[str, Any] = {
            "kind": self.recorded_as,
            **self.overall,
            "intervals": self.intervals,
            "bounds": self.bounds,
            "class_bounds": {name: ends[:, self.listed] for name, ends in self.class_bounds.items()},
            "per_class": [dict(zip(keys, row, strict=True)) for row in self.rows()],
            "class_intervals": {name: ends[:, self.listed] for name, ends in self.class_intervals.items()},
            "figures": list(self.overall),
            "positions": self.positions,
            "absent": self._left,
            **{name: getattr(self, name) for name in _SENTENCES},
            "notes": self.notes,
        }
        return {key: undefined_to_none(value) for key, value in figures.items()}

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> ClassificationReport:
        """What ``to_dict`` gave; classes that it did not list are counted alone."""
        rows: list[Mapping[str, Any]] = state["per_class"]
        names = [name for name in (rows[0] if rows else ()) if name not in ("class", "support")]
        return cls(
            class_names=tuple(row["class"] for row in rows),
            support=torch.tensor([row["support"] for row in rows], dtype=torch.int64),
            overall=restored(dict[str, float], {name: state[name] for name in state["figures"]}),
            per_class=restored(dict[str, Tensor], {name: [row[name] for row in rows] for name in names}),
            intervals=restored(dict[str, Interval], state["intervals"]),
            class_intervals=restored(dict[str, Tensor], state["class_intervals"]),
            bounds=restored(dict[str, Interval], state["bounds"]),
            class_bounds=restored(dict[str, Tensor], state["class_bounds"]),
            positions=state["positions"],
            worth=tuple(state["worth"]),
            undefined=tuple(state["undefined"]),
            alerts=tuple(state["alerts"]),
            agreements=tuple(state["agreements"]),
            absent=state["absent"],
        )

    def __str__(self) -> str:
        width = max(map(len, ("class", *self.class_names)))
        head = f"{'class':{width}}  support" + "".join(f"{name:>18}" for name in self.per_class)
        lines = [f"{name:{width}} {n:8d}" + "".join(f"{v:18.4f}" for v in values) for name, n, *values in self.rows()]
        wide = max(map(len, self.overall))
        ends = {name: f"  ({low:.4f} to {high:.4f})" for name, (low, high) in self.intervals.items()}
        tail = [f"{name:{wide}} {value:8.4f}{ends.get(name, '')}" for name, value in self.overall.items()]
        return "\n".join([head, *lines, "", *tail, *self.notes])
