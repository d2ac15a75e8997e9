"""The confusion matrix as the page uses it: cells that are not zero, and what follows from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightning_posttrain.report.page.sources import Sources

MOST_CELLS = 40_000
MOST_SEEN = 1500
"""Classes that are put in order by what they are confused with, at most: the work grows with the cube."""
Cell = tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class Counts:
    """How often each class was taken for each.

    Args:
        names: of the classes.
        cells: actual class, predicted class and count of those that are not zero.
    """

    names: tuple[str, ...]
    cells: tuple[Cell, ...]

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Counts | None:
        """Those of a record of a confusion matrix; None where it is empty or of labels that stand for themselves."""
        names = tuple(map(str, record.get("class_names", ())))
        if "cells" in record:
            cells = tuple((int(i), int(j), int(n)) for i, j, n in record["cells"])
        else:
            rows = record.get("counts") or ()
            if len(rows) != len(names) or (rows and isinstance(rows[0][0], list)):
                return None
            cells = tuple((i, j, int(n)) for i, row in enumerate(rows) for j, n in enumerate(row) if n)
        return cls(names, cells) if names and cells else None

    @classmethod
    def beside(cls, sources: Sources) -> Counts | None:
        """Those of a stage, for what can do without them: None also where the record has another form."""
        try:
            return cls.of(sources.record("confusion_matrix"))
        except (TypeError, ValueError, KeyError, IndexError):
            return None

    @cached_property
    def support(self) -> list[int]:
        """Rows of each actual class."""
        found = [0] * len(self.names)
        for actual, _, count in self.cells:
            found[actual] += count
        return found

    @cached_property
    def predicted(self) -> list[int]:
        """Rows that each class was predicted for."""
        found = [0] * len(self.names)
        for _, predicted, count in self.cells:
            found[predicted] += count
        return found

    @cached_property
    def rows(self) -> int:
        """All rows."""
        return sum(self.support)

    @cached_property
    def right(self) -> int:
        """Rows that were predicted as they are."""
        return sum(count for actual, predicted, count in self.cells if actual == predicted)

    @cached_property
    def errors(self) -> list[Cell]:
        """Cells beside the diagonal, the largest first."""
        wrong = (cell for cell in self.cells if cell[0] != cell[1])
        return sorted(wrong, key=lambda cell: (-cell[2], cell[0], cell[1]))

    @cached_property
    def taken_for(self) -> dict[int, Cell]:
        """By actual class, the wrong class that it is taken for most often."""
        found: dict[int, Cell] = {}
        for cell in self.errors:
            found.setdefault(cell[0], cell)
        return found

    @cached_property
    def drawn(self) -> tuple[Cell, ...]:
        """The cells that the page holds, the largest where they are very many."""
        return tuple(sorted(self.cells, key=lambda cell: -cell[2])[:MOST_CELLS])

    def by_confusion(self) -> list[int]:
        """The classes such that those that are confused stand beside each other.

        By the eigenvector of the second smallest eigenvalue of the Laplacian of the graph in which the weight between
        two classes is the share of their rows that is confused (Fiedler, 1973, doi:10.21136/CMJ.1973.101168); classes
        that are confused with none keep their order behind the others.
        """
        weights = self._weights()
        mixed = np.flatnonzero(weights.sum(axis=1) > 0)
        if len(mixed) < 3 or len(mixed) > MOST_SEEN:
            return list(range(len(self.names)))
        # a little of everything connects what would else be parts, each with its own eigenvector
        within = weights[np.ix_(mixed, mixed)] + 1e-4
        degree = within.sum(axis=1)
        scale = 1 / np.sqrt(degree)
        _, vectors = np.linalg.eigh(np.eye(len(mixed)) - scale[:, None] * within * scale[None])
        order = mixed[np.argsort(vectors[:, 1] * scale, kind="stable")].tolist()
        return [*order, *sorted(set(range(len(self.names))) - set(order))]

    def _weights(self) -> NDArray[np.float64]:
        weights = np.zeros((len(self.names), len(self.names)))
        for actual, predicted, count in self.errors:
            weights[actual, predicted] = count / self.support[actual]
        return weights + weights.T
