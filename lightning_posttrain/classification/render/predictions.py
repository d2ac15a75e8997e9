"""Predictions as a table."""

from __future__ import annotations

from lightning_posttrain.classification.result.predictions import Predictions
from lightning_posttrain.core.output.artifacts import Table


def predictions_table(predictions: Predictions) -> Table:
    """A row for each sample that is kept, with its five most probable classes."""
    return Table(predictions.columns, tuple(predictions.listing()), files_only=True)
