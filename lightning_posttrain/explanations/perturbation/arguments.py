"""What functions are given, checked at the door."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_posttrain.attribution import Chunks
from lightning_posttrain.explanations.perturbation.cooperative_game import Forward, Game
from lightning_posttrain.explanations.perturbation.segments import Parts


def game_of(
    forward: Forward,
    inputs: Tensor,
    background: Tensor,
    parts: Tensor | Parts | None,
    *,
    count: int | None = None,
    chunks: Chunks,
) -> Game:
    """The game that functions are given in parts.

    Args:
        forward: from rows to outputs.
        inputs: the samples ``(K, ...)``.
        background: rows ``(B, ...)`` for all samples, or ``(K, B, ...)`` as ``hidden_of`` gives them.
        parts: the part of each value, or as ``parts_of`` gives them; None for each value of ``(K, F)``.
        count: how many parts there are; None for one more than the largest number.
        chunks: how many rows at a time.

    Raises:
        ValueError: they do not go together.
    """
    shape = tuple(inputs.shape)
    if inputs.ndim < 2 or not len(inputs):
        raise ValueError(f"`inputs` is {shape}, wanted samples (K, ...), at least one. One alone is inputs[None].")
    hidden = background if background.ndim == inputs.ndim + 1 else background[None]
    if hidden.shape[2:] != inputs.shape[1:] or not hidden.shape[1] or len(hidden) not in (1, len(inputs)):
        raise ValueError(
            f"`background` is {tuple(background.shape)}, wanted rows as those of `inputs`, which are {shape}. "
            "Take some of the training data, or what hidden_of(...) gives."
        )
    if isinstance(parts, Parts):
        return Game(forward, inputs, parts.index.to(inputs.device), parts.count, hidden.to(inputs), chunks)
    labels = _labels(parts, shape).to(inputs.device)
    most = int(labels.max()) + 1
    count = most if count is None else count
    if int(labels.min()) < 0 or count < most:
        raise ValueError(
            f"`parts` has numbers from {int(labels.min())} to {most - 1} for {count} parts, wanted 0 to {count - 1}. "
            "Leave out `count`, and number the parts from 0."
        )
    return Game(forward, inputs, labels, count, hidden.to(inputs), chunks)


def _labels(parts: object, shape: tuple[int, ...]) -> Tensor:
    """The part of each value, of one dimension more than a sample."""
    if parts is None:
        if len(shape) != 2:
            raise ValueError(
                f"`inputs` is {shape}, wanted (K, F) where `parts` is left out. Give the part of each value, or what "
                "parts_of(...) gives."
            )
        return torch.arange(shape[1])[None]
    if not isinstance(parts, Tensor):
        raise ValueError(
            f"`parts` is {parts!r}, wanted the part of each value, as parts_of(inputs, kind, how=40) gives."
        )
    fits = parts.ndim == len(shape) and all(given in (1, side) for given, side in zip(parts.shape, shape, strict=True))
    if not fits or parts.is_floating_point() or parts.dtype == torch.bool:
        raise ValueError(
            f"`parts` is {parts.dtype} {tuple(parts.shape)} for inputs {shape}, wanted whole numbers of that shape, "
            "where any dimension may be 1."
        )
    return parts.long()


def positions(columns: Sequence[int | str], names: Sequence[str] | None, count: int | None = None) -> tuple[int, ...]:
    """Columns by position, of which some are given by name.

    Raises:
        ValueError: a name is not known, or a position not there.

    Example:
        >>> positions([0, "city"], ["age", "city"])
        (0, 1)
    """
    known = [] if names is None else list(map(str, names))
    unknown = [column for column in columns if isinstance(column, str) and column not in known]
    if unknown:
        raise ValueError(f"`categorical` has {unknown[0]!r}, wanted positions, or names that are in `names`.")
    found = tuple(known.index(column) if isinstance(column, str) else int(column) for column in columns)
    missing = [column for column in found if count is not None and not 0 <= column < count]
    if missing:
        raise ValueError(f"`categorical` has {missing[0]}, wanted columns from 0 to {(count or 0) - 1}.")
    return found
