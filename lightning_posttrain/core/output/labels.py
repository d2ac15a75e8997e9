"""Labels of a row in words."""

from __future__ import annotations

from collections.abc import Sequence

NO_LABEL = "no label"


def labels_there(row: Sequence[int], names: Sequence[str]) -> str:
    """Names of the labels that are there, of a row that has 1 for these.

    Example:
        >>> labels_there([1, -1, 1], ["cat", "dog", "owl"]), labels_there([0, 0, -1], ["cat", "dog", "owl"])
        ('cat, owl', 'no label')
    """
    return ", ".join(name for name, there in zip(names, row, strict=True) if there == 1) or NO_LABEL
