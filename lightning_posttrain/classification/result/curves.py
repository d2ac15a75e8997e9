"""ROC and precision-recall curves."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from lightning_posttrain.classification.result.scores import ScoreCounts
from lightning_posttrain.core.output.result import Counted, listed, undefined_to_none


@dataclass(frozen=True, eq=False)
class CurveReport(Counted):
    """The areas under the curves of each class, and the counts that they follow from.

    Args:
        counts: scores in bins; for a binary task of class 1 alone.
        auroc: area under the ROC curve ``(C,)`` float64; chance gives 0.5; NaN where not defined.
        average_precision: ``(C,)`` float64; chance gives the share of the class.
        micro: the two areas of all classes together; NaN for a single one.
    """

    counts: ScoreCounts
    auroc: Tensor
    average_precision: Tensor
    micro: tuple[float, float]

    @property
    def support(self) -> Tensor:
        """Rows of each class ``(C,)``, int64."""
        return self.counts.positives.sum(dim=0)

    @property
    def undefined(self) -> tuple[str, ...]:
        """Classes that are ignored, and those that have no rows, or all."""
        named, ignored = self.counts.class_names, self.counts.ignored
        areas = enumerate(self.auroc.tolist())
        names = [named[k] for k, area in areas if math.isnan(area) and k not in ignored]
        said = (f"no curve of {listed(names)}: no rows, or all",) if names else ()
        out = f"no curve of {listed([named[k] for k in ignored])}, whose rows are left out by ignore_index"
        return (*said, *([out] if ignored else ()))

    @property
    def notes(self) -> tuple[str, ...]:
        """Which curves are not there."""
        return self.undefined

    def rows(self) -> list[tuple[str, int, float, float]]:
        """Name, support, area under the ROC curve and average precision of each class."""
        columns = (self.support.tolist(), self.auroc.tolist(), self.average_precision.tolist())
        return list(zip(self.counts.class_names, *columns, strict=True))

    def to_dict(self) -> dict[str, Any]:
        """The areas; the points stand in a CSV file."""
        keys = ("class", "support", "auroc", "average_precision")
        each = [dict(zip(keys, row, strict=True)) for row in self.rows()]
        micro = dict(zip(("auroc", "average_precision"), self.micro, strict=True))
        figures: dict[str, Any] = undefined_to_none({"per_class": each, "micro": micro, "notes": self.notes})
        return figures
