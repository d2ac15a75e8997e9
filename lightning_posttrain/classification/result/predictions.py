"""What a classifier said of each row."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from lightning_posttrain.core.output.labels import labels_there
from lightning_posttrain.core.output.result import Counted

MOST = 10_000
"""Rows that are kept in full."""
BEST = 5
"""Classes of a row that are listed with their probabilities."""


@dataclass(frozen=True, eq=False)
class Predictions(Counted):
    """Predictions of the rows of an epoch: some in full, and of all whether they were right.

    Args:
        class_names: of the classes or labels.
        rows: that there were; those that enter no figure left out where they are known.
        seen: whether each sample of the dataset was predicted ``(D,)`` bool; None where positions are not known.
        right: whether it was predicted rightly ``(D,)`` bool; of labels whether all were.
        targets_crc32: of the classes of all samples as int32 in little-endian order, -1 for those that were not seen,
            by which two runs know that they had the same rows; of labels a number stands for them.
        table: by name a column of the rows that are kept, evenly over the epoch, ``MOST`` at most: ``index`` in the
            dataset, -1 where not known; ``actual`` and ``predicted`` class, of labels ``(K, L)``; ``probability`` of
            the predicted class, of labels that of the least sure; ``loss``, the log loss, of labels the mean;
            ``top`` and ``p``, the five most probable classes and their probabilities. Empty where it was read from a
            record: the rows stand in the CSV file beside it.
        reason: why nothing is kept.
        listed: how many rows are in the CSV file, where this was read from a record; else None.
    """

    recorded_as: ClassVar[str] = "predictions"

    class_names: tuple[str, ...]
    rows: int
    seen: Tensor | None = None
    right: Tensor | None = None
    targets_crc32: int | None = None
    table: Mapping[str, Tensor] = field(default_factory=dict)
    reason: str = ""
    listed: int | None = None

    @property
    def kept(self) -> int:
        """Rows that are kept in full."""
        return (len(self.table["index"]) if self.table else 0) if self.listed is None else self.listed

    @property
    def columns(self) -> tuple[str, ...]:
        """Of the CSV file."""
        best = range(1, min(BEST, len(self.class_names)) + 1)
        numbered = (*(f"top_{place}" for place in best), *(f"p_{place}" for place in best))
        return ("index", "actual", "predicted", "probability", "loss", *numbered)

    @property
    def notes(self) -> tuple[str, ...]:
        """How many rows are kept, and what is not known."""
        if self.reason:
            return (f"no predictions are kept: {self.reason}",)
        part = (f"{self.kept:,} of {self.rows:,} rows, evenly over the epoch",) if self.kept < self.rows else ()
        apart = ("positions in the dataset are not known, so that no other run can be paired with this",)
        return (*part, *(apart if self.seen is None else ()))

    def listing(self) -> Iterator[tuple[Any, ...]]:
        """The rows of the CSV file."""
        if not self.table:
            return
        columns = {name: column.tolist() for name, column in self.table.items()}
        for row in zip(*columns.values(), strict=True):
            one = dict(zip(columns, row, strict=True))
            said = (self._named(one["actual"]), self._named(one["predicted"]))
            index = None if one["index"] < 0 else one["index"]
            names = (self.class_names[place] for place in one["top"])
            yield index, *said, one["probability"], one["loss"], *names, *one["p"]

    def _named(self, value: Any) -> str:
        return labels_there(value, self.class_names) if isinstance(value, list) else self.class_names[value]

    def to_dict(self) -> dict[str, Any]:
        """How many, and bits of all samples: in bytes, the first sample in the highest bit, as base64."""
        return {
            "kind": self.recorded_as,
            "rows": self.rows,
            "kept": self.kept,
            "columns": list(self.columns),
            "size": None if self.seen is None else len(self.seen),
            "targets_crc32": self.targets_crc32,
            "seen": _packed(self.seen),
            "right": _packed(self.right),
            "class_names": list(self.class_names),
            "reason": self.reason,
            "notes": list(self.notes),
        }

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> Predictions:
        """What ``to_dict`` gave, without the rows of the CSV file."""
        return cls(
            class_names=tuple(state["class_names"]),
            rows=state["rows"],
            seen=_unpacked(state["seen"], state["size"]),
            right=_unpacked(state["right"], state["size"]),
            targets_crc32=state["targets_crc32"],
            reason=state["reason"],
            listed=state["kept"],
        )


def _packed(bits: Tensor | None) -> str | None:
    return None if bits is None else base64.b64encode(np.packbits(bits.numpy()).tobytes()).decode()


def _unpacked(text: str | None, size: int | None) -> Tensor | None:
    if text is None or size is None:
        return None
    packed = np.frombuffer(base64.b64decode(text, validate=True), np.uint8)
    if len(packed) != -(-size // 8):
        raise ValueError(f"'size' is {size}, but there are bits of {8 * len(packed)} samples")
    return torch.from_numpy(np.unpackbits(packed, count=size).astype(bool))
