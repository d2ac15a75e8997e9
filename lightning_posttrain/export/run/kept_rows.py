"""Rows of validation that an export is compared on, in memory, until the fit ends."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lightning_posttrain.classification import EvalBatch
from lightning_posttrain.core.capture.batch_parts import Path

MOST_BYTES = 256 << 20
"""Of rows that are kept."""


@dataclass(frozen=True, eq=False)
class Piece:
    """Some rows of a batch.

    Args:
        inputs: what the network was given, by path, each ``(n, ...)``, on the CPU.
        batch: the same rows as they were read, on the CPU; None where their targets are of no single rows.
    """

    inputs: Mapping[Path, Tensor]
    batch: EvalBatch | None

    @property
    def rows(self) -> int:
        """How many there are."""
        return len(next(iter(self.inputs.values())))


class KeptRows:
    """Keeps rows from all over an epoch: after a share of its batches, that share of the rows.

    Args:
        wanted: rows.
        batches: of the epoch; infinite where that is not known, when as many as there are are taken from the first.
    """

    def __init__(self, wanted: int, batches: float) -> None:
        self.pieces: list[Piece] = []
        self._wanted, self._bytes, self._seen = wanted, 0, 0
        self._batches = batches

    @property
    def rows(self) -> int:
        """How many are kept."""
        return sum(piece.rows for piece in self.pieces)

    @property
    def full(self) -> bool:
        """Whether no more are taken."""
        return self.rows >= self._wanted or self._bytes >= MOST_BYTES

    def add(self, inputs: Mapping[Path, Tensor], batch: EvalBatch) -> None:
        """Keep some rows of a batch.

        Args:
            inputs: what the network was given, by path.
            batch: as it was read.
        """
        size = len(next(iter(inputs.values())))
        self._seen += 1
        share = min(self._seen / self._batches, 1.0) if math.isfinite(self._batches) and self._batches else 1.0
        number = min(size, math.ceil(self._wanted * share) - self.rows)
        if number > 0 and not self.full:
            piece = taken(inputs, batch, number)
            self._bytes += sum(tensor.nbytes for tensor in piece.inputs.values())
            self.pieces.append(piece)


def taken(inputs: Mapping[Path, Tensor], batch: EvalBatch, number: int) -> Piece:
    """The first rows of a batch, in memory of their own, on the CPU."""
    size = len(next(iter(inputs.values())))
    with torch.inference_mode(False):
        rows = {name: tensor.detach()[:number].cpu().clone() for name, tensor in inputs.items()}
    return Piece(rows, _first(batch, number) if batch.size == size else None)


def _first(batch: EvalBatch, number: int) -> EvalBatch:
    each = len(batch.target) // batch.size if batch.size else 1
    rows = slice(0, number * each)
    with torch.inference_mode(False):
        scores, target = batch.scores.detach()[rows].cpu().clone(), batch.target[rows].cpu().clone()
        valid = None if batch.valid is None else batch.valid[rows].cpu().clone()
    return replace(
        batch, scores=scores, target=target, valid=valid, index=None, inputs=None, context=(), disagreement=None,
        samples=None if batch.samples is None else number,
    )  # fmt: skip
