"""ROC and precision-recall curves."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from lightning_posttrain.classification.result.scores import ScoreCounts, worth_of_areas
from lightning_posttrain.core.output.result import Counted, listed, undefined_to_none


@dataclass(frozen=True, eq=False)
class CurveReport(Counted):
    """The areas under the curves of each class, and the counts that they follow from.

    Args:
        class_names: ``C`` names; for a binary task that of class 1 alone.
        counts: scores in bins.
        together: those of all classes as of one.
        auroc: area under the ROC curve ``(C,)`` float64; chance gives 0.5; NaN where not defined.
        average_precision: ``(C,)`` float64; chance gives the share of the class.
        micro: the two areas of all classes together; NaN for a single one.
        within: by how much each of the two is off at most; 0 where exact.
        ignored: names of classes whose rows are left out on purpose.
    """

    class_names: tuple[str, ...]
    counts: ScoreCounts
    together: ScoreCounts
    auroc: Tensor
    average_precision: Tensor
    micro: tuple[float, float]
    within: tuple[float, float]
    ignored: tuple[str, ...] = ()

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
        """The areas; the points stand in a CSV file."""
        keys = ("class", "support", "auroc", "average_precision")
        each = [dict(zip(keys, row, strict=True)) for row in self.rows()]
        micro = dict(zip(("auroc", "average_precision"), self.micro, strict=True))
        figures: dict[str, Any] = undefined_to_none({"per_class": each, "micro": micro, "notes": self.notes})
        return figures
