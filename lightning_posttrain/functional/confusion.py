"""Counting a confusion matrix, and reading its largest errors."""

from __future__ import annotations

from torch import Tensor

from lightning_posttrain.results import ConfusedPair, Confusion


def add_confusion(counts: Tensor, target: Tensor, predicted: Tensor, counted: Tensor) -> None:
    """Add rows to a confusion matrix in place, without a synchronisation with the host.

    Args:
        counts: ``(C, C)`` int64, contiguous; rows are the actual class.
        target: actual class ``(N,)``, int64; any value where not ``counted``.
        predicted: predicted class ``(N,)``, int64 in ``[0, C)``.
        counted: ``(N,)`` bool, False for rows to leave out.

    Example:
        >>> import torch
        >>> counts = torch.zeros(2, 2, dtype=torch.int64)
        >>> add_confusion(counts, torch.tensor([0, 1, 1]), torch.tensor([0, 0, 1]), torch.tensor([True] * 3))
        >>> counts
        tensor([[1, 0],
                [1, 1]])
    """
    num_classes = counts.shape[0]
    # rows left out still need an index inside the matrix; their weight is zero
    cell = target.clamp(0, num_classes - 1) * num_classes + predicted
    counts.view(-1).index_add_(0, cell, counted.long())


def most_confused(confusion: Confusion, limit: int = 10) -> list[ConfusedPair]:
    """The largest cells off the diagonal, largest first, equal ones by class.

    Args:
        confusion: the finished matrix.
        limit: how many pairs at most.

    Example:
        >>> import torch
        >>> counts = torch.tensor([[5, 1, 0], [3, 9, 0], [0, 0, 4]])
        >>> most_confused(Confusion(counts, ("cat", "dog", "owl")))[0]
        ConfusedPair(actual='dog', predicted='cat', count=3, share=0.25)
    """
    counts, names = confusion.counts, confusion.class_names
    errors = counts - counts.diag().diag()
    found, cells = errors.flatten().sort(descending=True, stable=True)
    support = counts.sum(dim=1).tolist()
    pairs = []
    for count, cell in zip(found[:limit].tolist(), cells[:limit].tolist(), strict=True):
        actual, predicted = divmod(cell, len(names))
        if count:
            pairs.append(ConfusedPair(names[actual], names[predicted], count, count / support[actual]))
    return pairs
