"""The classes that a model gives."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lightning_posttrain.attribution import Chunks, OutOfTimeError
from lightning_posttrain.explanations.perturbation.cooperative_game import Forward, as_outputs


def class_of(outputs: Tensor) -> Tensor:
    """The class with the largest output, for outputs ``(..., C)``: ``(...)``, int64, on the CPU.

    Raises:
        ValueError: there is only one output, or some are NaN.
    """
    if outputs.shape[-1] < 2:
        raise ValueError(
            "`forward` gives 1 output a row, wanted one for each of 2 classes or more. "
            "Wrap a single logit, as forward=lambda x: torch.stack([-model(x), model(x)], 1)."
        )
    if outputs.isnan().any():
        raise ValueError("`forward` gives NaN, wanted numbers. Look for NaN in the inputs or the weights.")
    return outputs.argmax(-1).cpu()


class Asked:
    """A model that is asked for classes, and how often it was.

    Args:
        forward: the model.
        like: a tensor of the dtype and device that it takes.
        chunks: how many rows at a time, and how long.
    """

    def __init__(self, forward: Forward, like: Tensor, chunks: Chunks) -> None:
        self.rows = 0
        self._forward, self._like, self._chunks = forward, like, chunks

    @property
    def over(self) -> bool:
        """Whether the time is over."""
        return self._chunks.over

    def of(self, rows: Tensor) -> Tensor:
        """Classes ``(n,)`` of rows."""
        return self.classes(len(rows), lambda numbers: rows[numbers.to(rows.device)])

    def classes(
        self, total: int, rows: Callable[[Tensor], Tensor], *, partial: bool = False, share: float = 1.0
    ) -> Tensor:
        """Classes ``(total,)`` of rows that are made from their numbers, some at a time.

        Args:
            total: how many rows.
            rows: makes them.
            partial: where the time is over, give the classes of those that are done, instead of an error.
            share: of the time that is left, how much may be used.
        """
        found: list[Tensor] = [torch.empty(0, dtype=torch.int64)]

        def work(numbers: Tensor) -> None:
            with torch.no_grad():
                outputs = self._forward(rows(numbers).to(self._like))
            found.append(class_of(as_outputs(outputs, len(numbers))))
            self.rows += len(numbers)

        try:
            with self._chunks.within(share):
                self._chunks.run(total, work)
        except OutOfTimeError:
            if not partial:
                raise
        return torch.cat(found)
