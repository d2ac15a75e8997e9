"""Which rows are left out together."""

from __future__ import annotations

import torch
from torch import Tensor


def fold_of(rows: int, folds: int, *, groups: Tensor | None = None, seed: int = 0) -> Tensor:
    """Which fold each row is in ``(R,)``, by a permutation with a seed of its own; rows of one group stay together.

    Args:
        rows: how many.
        folds: how many.
        groups: the group of each row ``(R,)``, any integers; each row for itself where it is left out.
        seed: of the permutation.

    Example:
        >>> fold = fold_of(6, 3, groups=torch.tensor([7, 7, 8, 8, 9, 9]))
        >>> (fold[::2] == fold[1::2]).all(), sorted(fold[::2].tolist())
        (tensor(True), [0, 1, 2])
    """
    number = rows if groups is None else 0
    if groups is not None:
        found, groups = torch.unique(groups, return_inverse=True)
        number = len(found)
    place = torch.randperm(number, generator=torch.Generator().manual_seed(seed)) % folds
    return place if groups is None else place[groups.cpu()]
