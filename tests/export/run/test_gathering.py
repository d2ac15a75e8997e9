"""What is gathered of rows: statistics of inputs over batches, and rows from all over an epoch."""

import numpy as np
import pytest
import torch

from lightning_posttrain.classification import EvalBatch
from lightning_posttrain.export.run.input_statistics import InputStatistics
from lightning_posttrain.export.run.kept_rows import KeptRows


def of(*batches):
    found = InputStatistics()
    for batch in batches:
        found.add({"x": batch})
    return found.to_dict()["x"]


def wanted(values):
    """Of ``(C, n)``."""
    return {"low": values.min(1), "high": values.max(1), "mean": values.mean(1), "std": values.std(1)}


def test_statistics_over_batches_are_those_of_all_rows_by_channel():
    rows = np.random.default_rng(0).normal(1e4, 1.0, size=(50, 3, 4, 5)).astype(np.float32)
    found = of(rows[:7], rows[7:8], rows[8:])
    for name, values in wanted(np.moveaxis(rows.astype(np.float64), 1, 0).reshape(3, -1)).items():
        np.testing.assert_allclose(found[name], values, rtol=1e-5)


@pytest.mark.parametrize("kind", [np.float32, np.int64])
def test_values_of_sequences_of_several_lengths_are_taken_together(kind):
    batches = [np.random.default_rng(n).integers(0, 9, size=(4, 3 + n)).astype(kind) for n in range(3)]
    found = of(*batches)
    values = np.concatenate([batch.reshape(-1) for batch in batches])[None].astype(np.float64)
    for name, value in wanted(values).items():
        np.testing.assert_allclose(found[name], value, rtol=1e-5)


@pytest.mark.parametrize(("batches", "size", "rows"), [(100, 8, 10), (7, 8, 20), (3, 32, 512), (1, 5, 5)])
def test_rows_are_kept_from_all_over_an_epoch(batches, size, rows):
    kept = KeptRows(rows, batches)
    for number in range(batches):
        batch = EvalBatch(torch.zeros(size, 2), torch.full((size,), number % 2))
        kept.add({(): torch.full((size, 1), float(number))}, batch)
    assert kept.rows == min(rows, batches * size)
    origins = torch.cat([piece.inputs[()][:, 0] for piece in kept.pieces])
    assert origins[0] == 0
    assert origins[-1] >= batches - 1 - batches / kept.rows
    assert len(set(origins.tolist())) == min(batches, kept.rows)
