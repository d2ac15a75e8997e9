"""Which rows a stage had, for the manifest: how many, of which classes, and a fingerprint."""

from __future__ import annotations

import hashlib
from typing import Any, final

import numpy as np
from torch import Tensor


@final
class DataSeen:
    """Counts the rows of batches, and hashes their places and labels in order.

    Args:
        classes: how many there are.
    """

    def __init__(self, classes: int) -> None:
        self.rows = 0
        self.counts = np.zeros(classes, dtype=np.int64)
        self._digest = hashlib.sha256()

    def add(self, target: Tensor, index: Tensor | None, samples: int) -> None:
        """See a batch: its targets, and where its samples stand in the dataset, if that is known."""
        values = target.detach().cpu().numpy().astype(np.int64)
        self.rows += samples
        if values.ndim == 2:
            self.counts += (values == 1).sum(0)
        else:
            known = values[(values >= 0) & (values < len(self.counts))]
            self.counts += np.bincount(known, minlength=len(self.counts))
        places = np.zeros(0, dtype=np.int64) if index is None else index.detach().cpu().numpy().astype(np.int64)
        self._digest.update(np.ascontiguousarray(places).tobytes() + np.ascontiguousarray(values).tobytes())

    def to_dict(self) -> dict[str, Any]:
        """For the manifest."""
        return {"rows": self.rows, "class_counts": self.counts.tolist(), "fingerprint": self._digest.hexdigest()}
