"""Counting a confusion matrix, and reading its largest errors."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_posttrain.classification.result.confusion import ClassCounts, ConfusedPair, Confusion, LabelConfusion


def add_confusion(
    counts: Tensor, target: Tensor, predicted: Tensor, counted: Tensor, group: Tensor | None = None
) -> None:
    """Add rows to confusion matrices in place, without a synchronisation with the host.

    Args:
        counts: ``(G, C, C)`` int64, contiguous; rows are the actual class.
        target: actual class ``(N,)``, int64; any value where not ``counted``.
        predicted: predicted class ``(N,)``, int64, in ``[0, C)``.
        counted: ``(N,)`` bool, False for rows to leave out.
        group: which matrix each row is of ``(N,)``, int64; None for the first.

    Example:
        >>> counts = torch.zeros(1, 2, 2, dtype=torch.int64)
        >>> add_confusion(counts, torch.tensor([0, 1, 1]), torch.tensor([0, 0, 1]), torch.tensor([True] * 3))
        >>> counts[0]
        tensor([[1, 0],
                [1, 1]])
    """
    num_classes = counts.shape[-1]
    # rows left out still need an index inside the matrix; their weight is zero
    target = target.clamp(0, num_classes - 1)
    line = target if group is None else group * num_classes + target
    counts.view(-1).index_add_(0, line * num_classes + predicted, counted.long())


def merged_cells(cells: Tensor) -> Tensor:
    """Each cell once, in order, with the sum of its counts, without those of 0; waits for the device.

    Args:
        cells: number of the cell and count ``(K, 2)``, int64.

    Example:
        >>> merged_cells(torch.tensor([[7, 1], [3, 2], [7, 1], [9, 0]])).tolist()
        [[3, 2], [7, 2]]
    """
    cell, inverse = torch.unique(cells[:, 0], return_inverse=True)
    count = torch.zeros_like(cell).index_add_(0, inverse, cells[:, 1])
    return torch.stack([cell, count], dim=1)[count > 0]


def class_counts(confusion: Confusion | LabelConfusion) -> ClassCounts:
    """The four counts of each class, or label, against all others.

    Example:
        >>> counts = class_counts(Confusion(torch.tensor([[3, 1], [0, 4]]), ("no", "yes")))
        >>> [values.tolist() for values in counts]
        [[3.0, 4.0], [0.0, 1.0], [1.0, 0.0], [4.0, 3.0]]
    """
    if isinstance(confusion, LabelConfusion):
        cells = confusion.counts.double()
        return ClassCounts(cells[:, 1, 1], cells[:, 0, 1], cells[:, 1, 0], cells[:, 0, 0])
    place, count = confusion.cells
    return counts_of_cells(place, count.double(), len(confusion.class_names))


def counts_of_cells(place: Tensor, count: Tensor, num_classes: int) -> ClassCounts:
    """The four counts of each class from the cells of a matrix.

    Args:
        place: actual and predicted class of each cell ``(2, K)``.
        count: rows in it ``(..., K)``, float64.
        num_classes: ``C``.
    """
    none = count.new_zeros(*count.shape[:-1], num_classes)
    right = torch.where(place[0] == place[1], count, 0.0)
    true_positive = none.index_add(-1, place[0], right)
    false_negative = none.index_add(-1, place[0], count - right)
    false_positive = none.index_add(-1, place[1], count - right)
    rest = count.sum(dim=-1, keepdim=True) - true_positive - false_negative - false_positive
    return ClassCounts(true_positive, false_positive, false_negative, rest)


def most_confused_classes(confusion: Confusion, limit: int = 20) -> list[int]:
    """The classes of the largest cells off the diagonal, as many as are asked for, in the order of classes.

    Example:
        >>> counts = torch.tensor([[5, 1, 0], [3, 9, 0], [0, 1, 4]])
        >>> most_confused_classes(Confusion(counts, ("cat", "dog", "owl")), 2)
        [0, 1]
    """
    place, _ = _largest_errors(confusion, limit)
    chosen: dict[int, None] = {}
    for pair in place.t().tolist():
        if len(chosen | dict.fromkeys(pair)) <= limit:
            chosen |= dict.fromkeys(pair)
    return sorted(chosen)


def most_confused(confusion: Confusion, limit: int = 10) -> list[ConfusedPair]:
    """The largest cells off the diagonal, largest first, equal ones by class.

    Args:
        confusion: the finished matrix.
        limit: how many pairs at most.

    Example:
        >>> counts = torch.tensor([[5, 1, 0], [3, 9, 0], [0, 0, 4]])
        >>> most_confused(Confusion(counts, ("cat", "dog", "owl")))[0]
        ConfusedPair(actual='dog', predicted='cat', count=3, share=0.25)
    """
    place, count = _largest_errors(confusion, limit)
    names, support = confusion.class_names, confusion.support
    return [
        ConfusedPair(names[actual], names[predicted], found, found / int(support[actual]))
        for actual, predicted, found in zip(*place.tolist(), count.tolist(), strict=True)
    ]


def _largest_errors(confusion: Confusion, limit: int) -> tuple[Tensor, Tensor]:
    """Actual and predicted class ``(2, K)`` and counts of the largest cells off the diagonal."""
    place, count = confusion.cells
    errors = place[0] != place[1]
    place, count = place[:, errors], count[errors]
    order = count.sort(descending=True, stable=True).indices[:limit]
    return place[:, order], count[order]
