"""Who chooses the samples that are explained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from lightning_posttrain.samples.batch import ScoredBatch
from lightning_posttrain.samples.reservoir import Chosen, FixedSamples, IndexedSamples, RankedSamples, Samples, joined


class ErrorsElseFixed:
    """The most confident errors of each epoch, and where they are too few some of each class."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._errors, self._fixed = RankedSamples(count), FixedSamples(count)

    def offer(self, batch: ScoredBatch) -> None:
        """Look at a batch for either."""
        self._errors.offer(batch)
        self._fixed.offer(batch)

    def chosen(self) -> Chosen | None:
        """The errors, and others behind them."""
        errors, others = self._errors.chosen(), self._fixed.chosen()
        if errors is None or others is None:
            return errors or others
        new = [i for i in range(len(others.inputs)) if not _among(others, i, errors)]
        return joined([errors, others.only(new[: self._count - len(errors.inputs)])])


def _among(chosen: Chosen, i: int, others: Chosen) -> bool:
    """Whether a sample is one of others: by its position where that is known, else by its values."""
    if chosen.index[i] is not None:
        return chosen.index[i] in others.index
    return any(torch.equal(chosen.inputs[i], other) for other in others.inputs)


def selector_of(
    samples: int | Sequence[int], choose: str | tuple[Any, ...], names: Sequence[str], batch: ScoredBatch
) -> Samples:
    """Who chooses: positions, ``"fixed"``, ``"errors"``, ``"errors or fixed"``, or a cell of the confusion matrix.

    Raises:
        ValueError: a class of the cell is not there.
    """
    if not isinstance(samples, int):
        return IndexedSamples(samples)
    if choose == "fixed" or batch.multilabel:
        return FixedSamples(samples)
    if choose == "errors or fixed":
        return ErrorsElseFixed(samples)
    if isinstance(choose, str):
        return RankedSamples(samples)
    actual, predicted = (_class(name, names, batch.num_classes) for name in choose)
    return RankedSamples(samples, (actual, predicted))


def _class(name: Any, names: Sequence[str], num_classes: int) -> int:
    if isinstance(name, int) and 0 <= name < num_classes:
        return name
    if str(name) not in names:
        raise ValueError(f"`choose` has {name!r}, wanted a class index or one of {', '.join(names)}.")
    return list(names).index(str(name))
