"""Which rows of a batch a sample of the dataset could be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from lightning_posttrain.core.capture.leaves import leaves

VALUES = 1024
"""Of a row, evenly spread, that are compared."""
Columns = Mapping[str, Tensor]


def columns(read: Any) -> Columns:
    """The tensors of what was read of a batch, by their paths."""
    return {path: tensor for path, tensor in leaves(read, ()) if tensor.layout == torch.strided and tensor.ndim}


def rows_like(column: Tensor, one: Tensor, count: int) -> Tensor | None:
    """Which rows of a batch hold what a batch of one sample holds, alone, or before or behind padding ``(N,)`` bool.

    Args:
        column: ``(N, ...)``, or ``(T, N, ...)`` as of sequences whose first dimension is time.
        one: ``(1, ...)`` or ``(T, 1, ...)``, with no dimension longer.
        count: ``N``.

    Returns:
        None where the shapes do not go together.

    Example:
        >>> rows_like(torch.tensor([[5, 7, 0], [0, 5, 7], [7, 5, 0]]), torch.tensor([[5, 7]]), 3)
        tensor([ True,  True, False])
    """
    if column.ndim != one.ndim:
        return None
    axes = [d for d in range(min(column.ndim, 2)) if (column.shape[d], one.shape[d]) == (count, 1)]
    if not axes:
        return None
    rows = column.movedim(axes[0], 0).unsqueeze(-1)
    sample = one.movedim(axes[0], 0)[0].unsqueeze(-1).to(column)
    room = [n - m for n, m in zip(rows.shape[1:], sample.shape, strict=True)]
    if min(room) < 0 or not sample.numel():
        return None
    flat = torch.linspace(0, sample.numel() - 1, min(sample.numel(), VALUES), dtype=torch.float64).long()
    places = torch.unravel_index(flat.to(column.device), sample.shape)
    wanted, found = sample[places], torch.zeros(count, dtype=torch.bool, device=column.device)
    flattened = rows.movedim(0, -1)  # so that places index the first dimensions
    for shifts in ([0] * len(room), room):
        there = flattened[tuple(place + shift for place, shift in zip(places, shifts, strict=True))].T
        found |= ((there == wanted) | (there.isnan() & wanted.isnan())).all(1)
    return found.cpu()


def share_alike(came: Columns, one: Columns, row: int, free: Tensor) -> float | None:
    """The share of a batch's rows that a sample could be, by all columns in which it is found.

    Over several samples the product of shares is the chance that rows in a random order agree as well.

    Args:
        came: columns of the batch.
        one: those of a batch of the sample alone.
        row: where the sample should be.
        free: rows that are no other sample's that was found before ``(N,)`` bool. Of a batch of a single row it is not
            known how many others would do, and half is taken.

    Returns:
        1 where it is found nowhere; None where a column has it in other rows alone.

    Example:
        >>> batch, one = {"label": torch.tensor([0, 1, 1, 0])}, {"label": torch.tensor([0])}
        >>> free = torch.tensor([False, True, True, True])
        >>> round(share_alike(batch, one, 3, free), 2), share_alike(batch, one, 2, free)
        (0.33, None)
    """
    found = (rows_like(came[path], alone, len(free)) for path, alone in one.items() if path in came)
    like = [rows for rows in found if rows is not None and bool(rows.any())]
    if not all(bool(rows[row]) for rows in like):
        return None
    if not like:
        return 1.0
    return 0.5 if len(free) == 1 else int(torch.stack(like).all(0)[free].sum()) / int(free.sum())


def asked_share(came: Columns, ask: Callable[[], Columns], row: int, free: Tensor) -> float | None:
    """The same of a sample that is asked for; once more before None, as what is drawn anew contradicts nothing."""
    one = ask()
    share = share_alike(came, one, row, free)
    if share is not None:
        return share
    twice = ask()
    steady = {path: alone for path, alone in one.items() if path in twice and torch.equal(alone, twice[path])}
    return share_alike(came, steady, row, free)
