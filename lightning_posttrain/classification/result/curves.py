"""ROC and precision-recall curves."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from lightning_posttrain.classification.result.scores import ScoreCounts, worth_of_areas
from lightning_posttrain.core.output.restored import restored
from lightning_posttrain.core.output.result import Counted, listed, undefined_to_none


@dataclass(frozen=True, eq=False)
class CurveReport(Counted):
    """The areas under the curves of each class, and the counts that they follow from.

    Args:
        class_names: ``C`` names; for a binary task that of class 1 alone.
        auroc: area under the ROC curve ``(C,)`` float64; chance gives 0.5; NaN where not defined.
        average_precision: ``(C,)`` float64; chance gives the share of the class.
        binned: scores in bins, ``"each"`` of each class and ``"together"`` of all classes as of one.
        areas: ``"micro"`` and ``"within"``, see there.
        ignored: names of classes whose rows are left out on purpose.
    """

    recorded_as: ClassVar[str] = "score_curves"

    class_names: tuple[str, ...]
    auroc: Tensor
    average_precision: Tensor
    binned: Mapping[str, ScoreCounts]
    areas: Mapping[str, tuple[float, float]]
    ignored: tuple[str, ...] = ()

    @property
    def counts(self) -> ScoreCounts:
        """Scores in bins, of each class."""
        return self.binned["each"]

    @property
    def together(self) -> ScoreCounts:
        """Those of all classes as of one."""
        return self.binned["together"]

    @property
    def micro(self) -> tuple[float, float]:
        """The two areas of all classes together; NaN for a single one."""
        return self.areas["micro"]

    @property
    def within(self) -> tuple[float, float]:
        """By how much an area under the ROC curve, and an average precision, is off at most; 0 where exact."""
        return self.areas["within"]

    @property
    def support(self) -> Tensor:
        """Rows of each class ``(C,)``, int64."""
        return self.counts.positives.sum(dim=0)

    @property
    def undefined(self) -> tuple[str, ...]:
        """Classes that are ignored, and those that have no rows, or all."""
        pairs = zip(self.class_names, self.auroc.tolist(), strict=True)
        names = [name for name, area in pairs if math.isnan(area) and name not in self.ignored]
        said = (f"no curve of {listed(names)}: no rows, or all",) if names else ()
        out = f"no curve of {listed(self.ignored)}, whose rows are left out by ignore_index"
        return (*said, *([out] if self.ignored else ()))

    @property
    def notes(self) -> tuple[str, ...]:
        """Which curves are not there, and what the areas are worth."""
        return (*self.undefined, worth_of_areas(self.within))

    def rows(self) -> list[tuple[str, int, float, float]]:
        """Name, support, area under the ROC curve and average precision of each class."""
        columns = (self.support, self.auroc, self.average_precision)
        return list(zip(self.class_names, *(column.tolist() for column in columns), strict=True))

    def to_dict(self) -> dict[str, Any]:
        """The areas; the points of the curves stand in CSV files."""
        keys = ("class", "support", "auroc", "average_precision")
        each = [dict(zip(keys, row, strict=True)) for row in self.rows()]
        micro = dict(zip(("auroc", "average_precision"), self.micro, strict=True))
        more = {"within": self.within, "ignored": self.ignored, "notes": self.notes}
        figures: dict[str, Any] = undefined_to_none(
            {"kind": self.recorded_as, "per_class": each, "micro": micro, **more}
        )
        return figures

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> CurveReport:
        """What ``to_dict`` gave; of scores the rows of each class alone, in one bin."""
        rows = state["per_class"]
        positives = torch.tensor([row["support"] for row in rows], dtype=torch.int64)[None]
        edges = torch.tensor([[0.0], [1.0]], dtype=torch.float64).expand(2, len(rows))
        one = ScoreCounts(positives, torch.zeros_like(positives), edges)
        return cls(
            class_names=tuple(row["class"] for row in rows),
            auroc=restored(Tensor, [row["auroc"] for row in rows]),
            average_precision=restored(Tensor, [row["average_precision"] for row in rows]),
            binned={"each": one, "together": one},
            areas={
                "micro": restored(
                    tuple[float, float], [state["micro"][name] for name in ("auroc", "average_precision")]
                ),
                "within": restored(tuple[float, float], state["within"]),
            },
            ignored=tuple(state["ignored"]),
        )
