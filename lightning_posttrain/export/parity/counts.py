"""What two models answer for the same rows, compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, final

import numpy as np

from lightning_posttrain.export.outputs import Outputs
from lightning_posttrain.export.parity.change import Change
from lightning_posttrain.export.signature import Array

MOST_MARGINS = 65536
"""Margins of flips that are kept, the largest ones."""
EDGES = 10.0 ** np.arange(-9, 0, 0.5)
"""Sizes of differences that rows are counted between."""


@final
@dataclass(frozen=True, eq=False)
class ParityCounts:
    """Sums of a comparison, which add over batches and ranks.

    A *flip* is a decision that is another one. It is a tie where the margin of the tested model, its distance to the
    boundary, is at most twice the largest difference of any probability: two probabilities that each move by that much
    can change places. A flip with a larger margin has another cause than rounding.

    Args:
        rows: how many were compared.
        decisions: of these, one a row, or one for each label or position of it.
        flips: decisions that are others.
        flipped_rows: rows with a flip.
        values: probabilities that were compared: finite ones.
        total: sum of their absolute differences.
        largest: of these.
        non_finite: probabilities of the exported model that are NaN or infinite.
        tested_non_finite: of the tested model.
        paired_rows: rows with a target.
        gained: sum over these rows of the share of right decisions, less that of the tested model.
        squares: sum of the squares of these.
        margins: of flips, the largest ``MOST_MARGINS``, the largest first; infinite where it is not known.
        spread: rows by their largest difference, between ``EDGES`` and beyond either end.
    """

    rows: int = 0
    decisions: int = 0
    flips: int = 0
    flipped_rows: int = 0
    values: int = 0
    total: float = 0.0
    largest: float = 0.0
    non_finite: int = 0
    tested_non_finite: int = 0
    paired_rows: int = 0
    gained: float = 0.0
    squares: float = 0.0
    margins: Array = field(default_factory=lambda: np.zeros(0))
    spread: Array = field(default_factory=lambda: np.zeros(len(EDGES) + 1, dtype=np.int64))

    @classmethod
    def of(
        cls, reference: Outputs, got: Outputs, *, margin: Array | None = None, target: Array | None = None
    ) -> ParityCounts:
        """The sums of one batch.

        Args:
            reference: answers of the tested model.
            got: of the exported one, for the same rows.
            margin: of each decision of the tested model, as ``margins`` gives; not known where left out.
            target: in the shape of the decision, to compare how many are right; negative ones are not counted.

        Raises:
            ValueError: shapes differ.
        """
        _check(reference, got, {"margin": margin, "target": target})
        rows, flipped = len(got.decision), reference.decision != got.decision
        known = np.full(flipped.shape, np.inf) if margin is None else np.asarray(margin, dtype=np.float64)
        return cls(
            rows=rows,
            decisions=flipped.size,
            flips=int(flipped.sum()),
            flipped_rows=int(flipped.reshape(rows, flipped.size // max(rows, 1)).any(axis=1).sum()),
            margins=_largest(known[flipped]),
            **_differences(reference.probabilities, got.probabilities),
            **({} if target is None else _paired(reference, got, target)),
        )

    def __add__(self, other: ParityCounts) -> ParityCounts:
        summed: dict[str, Any] = {part.name: getattr(self, part.name) + getattr(other, part.name) for part in ADDED}
        kept = _largest(np.concatenate([self.margins, other.margins]))
        return ParityCounts(largest=max(self.largest, other.largest), margins=kept, **summed)

    @property
    def mean(self) -> float:
        """Mean absolute difference of probabilities; NaN where none was compared."""
        return self.total / self.values if self.values else float("nan")

    @property
    def no_ties(self) -> int:
        """Flips that are no ties; at least so many where they are more than ``MOST_MARGINS``."""
        return int((self.margins > 2 * self.largest).sum())

    @property
    def change(self) -> Change | None:
        """How the share of right decisions changes; None without targets."""
        return Change.of(self.gained, self.squares, self.paired_rows) if self.paired_rows else None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for other ranks."""
        return {part.name: _plain(getattr(self, part.name)) for part in fields(self)}

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> ParityCounts:
        """What ``to_dict`` gave."""
        arrays = {
            "margins": np.asarray(state["margins"], dtype=np.float64),
            "spread": np.asarray(state["spread"], dtype=np.int64),
        }
        return cls(**{**state, **arrays})


ADDED = tuple(part for part in fields(ParityCounts) if part.name not in {"largest", "margins"})


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else value


def _check(reference: Outputs, got: Outputs, others: Mapping[str, Array | None]) -> None:
    for name, wanted, found in zip(Outputs._fields, reference, got, strict=True):
        if wanted.shape != found.shape:
            raise ValueError(
                f"`got.{name}` has shape {found.shape}, wanted {wanted.shape}, that of the tested model. Give both the "
                "same rows."
            )
    for name, array in others.items():
        if array is not None and array.shape != reference.decision.shape:
            raise ValueError(
                f"`{name}` has shape {array.shape}, wanted {reference.decision.shape}, one for a decision."
            )


def _largest(found: Array) -> Array:
    return np.sort(np.where(np.isnan(found), np.inf, found))[::-1][:MOST_MARGINS]


def _differences(wanted: Array, found: Array) -> dict[str, Any]:
    with np.errstate(invalid="ignore"):
        apart = np.abs(found.astype(np.float64) - wanted.astype(np.float64))
    apart = apart.reshape(len(apart), apart.size // max(len(apart), 1))
    comparable = np.isfinite(apart)
    apart = np.where(comparable, apart, 0.0)
    # 0 is below every edge; a difference at an edge is above it
    places = np.searchsorted(EDGES, apart.max(axis=1, initial=0.0), side="right")
    return {
        "values": int(comparable.sum()),
        "total": float(apart.sum()),
        "largest": float(apart.max(initial=0.0)),
        "non_finite": int((~np.isfinite(found)).sum()),
        "tested_non_finite": int((~np.isfinite(wanted)).sum()),
        "spread": np.bincount(places, minlength=len(EDGES) + 1).astype(np.int64),
    }


def _paired(reference: Outputs, got: Outputs, target: Array) -> dict[str, Any]:
    """Right decisions by row, less those of the tested model: a mean over the labels or positions of a row."""
    wide = (len(target), target.size // max(len(target), 1))
    counted = (target >= 0).reshape(wide)
    gained = (got.decision == target).astype(np.int64) - (reference.decision == target)
    sums, numbers = (gained.reshape(wide) * counted).sum(axis=1), counted.sum(axis=1)
    share = sums[numbers > 0] / numbers[numbers > 0]
    return {"paired_rows": len(share), "gained": float(share.sum()), "squares": float((share**2).sum())}
