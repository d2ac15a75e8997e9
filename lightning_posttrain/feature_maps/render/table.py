"""The stages of a network as a table."""

from __future__ import annotations

import math

from lightning_posttrain.core.drawing.table_notes import sentences
from lightning_posttrain.core.output.artifacts import Table
from lightning_posttrain.feature_maps.result import FeatureMapsResult

SAID = "Dead: share of channels that are 0 everywhere. Border: share of energy there over its share of the area."


def stages_table(result: FeatureMapsResult) -> Table:
    """A row for each stage: its layer, its shape and its figures."""
    columns = ("stage", "layer", "shape", "dead", "effective rank", "border", "largest energy", "drawn channels")
    rows = tuple(
        (
            stage.name, stage.layer, stage.size, stage.dead, _known(stage.effective_rank), _known(stage.border),
            _known(stage.peak), " ".join(map(str, stage.channels)),
        )
        for stage in result.stages
    )  # fmt: skip
    return Table(columns, rows, note=sentences(f"{SAID} Over {len(result.samples)} samples.", result.notes))


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
