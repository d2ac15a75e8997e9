"""Small batches that are looked at together: what takes many operations is done once for many rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias, final

import torch
from torch import Tensor

from lightning_posttrain.core.stream.stage_sizes import StageSizes

Look: TypeAlias = tuple[Any, "Tensor | None"]
"""A batch, and what is kept of the inputs of its rows."""


class Joinable(Protocol):
    """What is asked, beside ``Batch``, of a batch that can be made one with others."""

    @property
    def form(self) -> tuple[Any, ...] | None:
        """What is equal in batches that can be joined; None for one that stands alone."""

    @property
    def held(self) -> Joinable:
        """Itself without its inputs, in memory that no later step changes."""

    @property
    def sizes(self) -> StageSizes:
        """How much is gathered where it lies."""

    @property
    def nbytes(self) -> int:
        """Bytes that ``held`` takes, about."""

    @property
    def size(self) -> int:
        """How many samples it has."""

    def joined(self, others: Sequence[Any]) -> Any:
        """Itself and others in one, without inputs."""


@final
class Gathered:
    """Batches that wait to be looked at. One that is not ``Joinable``, or is large, does not wait.

    Nothing here waits for the device.
    """

    def __init__(self) -> None:
        self._waiting: list[Look] = []
        self._form: tuple[Any, ...] = ()
        self._used: tuple[int, ...] = (0, 0, 0)

    @torch.no_grad()
    def add(self, batch: Any, inputs: Tensor | None = None) -> list[Look]:
        """Take a batch, and what is to be kept of its inputs; what is to be looked at now, in order."""
        form = getattr(batch, "form", None)
        if form is None:
            return [*self.flush(), (batch, inputs)]
        sizes = batch.sizes
        form = form if inputs is None else (*form, inputs.shape[1:], inputs.dtype, inputs.device)
        taken = batch.nbytes, 0 if inputs is None else inputs.nbytes, batch.size
        room = 4 * sizes.chunk, sizes.inputs, sizes.rows
        if any(2 * part > most for part, most in zip(taken, room, strict=True)):
            return [*self.flush(), (batch, inputs)]
        used = tuple(map(sum, zip(self._used, taken, strict=True)))
        full = form != self._form or any(part > most for part, most in zip(used, room, strict=True))
        due = self.flush() if full else []
        self._form, self._used = form, taken if full else used
        # a buffer may come in that is used again
        own = inputs.clone() if inputs is not None and inputs is batch.inputs else inputs
        self._waiting.append((batch.held, own))
        return due

    @torch.no_grad()
    def flush(self) -> list[Look]:
        """All that waits, as one batch."""
        waiting, self._waiting, self._used = self._waiting, [], (0, 0, 0)
        if len(waiting) < 2:
            return waiting
        (first, _), *others = waiting
        inputs = [part for _, part in waiting if part is not None]
        return [(first.joined([other for other, _ in others]), torch.cat(inputs) if inputs else None)]
