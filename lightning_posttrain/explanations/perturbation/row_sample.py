"""Some rows of an epoch, drawn at random while it goes by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class SampledRows:
    """Rows in random order, on the CPU: inputs ``(N, ...)``, scores ``(N, C)`` and targets ``(N, ...)``, or None.

    Args:
        inputs: as the loader gave them.
        scores: of the model, or what is kept of them ``(N,)``.
        target: as the batch has it.
        seen: how many rows they were drawn from.
    """

    inputs: Tensor
    scores: Tensor | None
    target: Tensor | None
    seen: int


class RowSample:
    """A random sample of rows, each as likely to be kept, of bounded size; does not wait for the device.

    Args:
        most: rows that are kept, at most; while an epoch lasts twice as many.
        memory: bytes of inputs that are kept, at most, likewise; of scores four times as many.
        seed: of a generator of its own.

    Example:
        >>> sample = RowSample(most=2)
        >>> sample.offer(torch.arange(10.0)[:, None])
        >>> len(sample.rows().inputs), sample.rows().seen
        (2, 10)
    """

    def __init__(self, most: int = 10_000, memory: int = 1 << 26, seed: int = 0) -> None:
        self._most, self._memory = most, memory
        self._seed = seed
        self._generator: torch.Generator | None = None
        self._kept: list[tuple[Tensor, ...]] = []
        self._keys: list[Tensor] = []
        self._has: tuple[bool, bool] | None = None
        self._seen = 0

    def offer(self, inputs: Tensor, scores: Tensor | None = None, target: Tensor | None = None) -> None:
        """Look at rows ``(n, ...)``; those of another shape than the first are passed over."""
        if not len(inputs) or (self._kept and self._kept[0][0].shape[1:] != inputs.shape[1:]):
            return
        self._seen += len(inputs)
        self._has = (scores is not None, target is not None)
        given = (inputs, *(part for part in (scores, target) if part is not None))
        with torch.inference_mode(False):
            self._kept.append(tuple(part.detach().clone() for part in given))
            self._keys.append(self._drawn(inputs))
        if sum(map(len, self._keys)) > 2 * self.room:
            self._thin(self.room)

    def _drawn(self, inputs: Tensor) -> Tensor:
        """A random number of each row, on the device of the rows, as to bring it there would make the host wait."""
        device = inputs.device
        if self._generator is None:
            where = device if device.type in ("cpu", "cuda", "mps") else "cpu"
            self._generator = torch.Generator(where).manual_seed(self._seed)
        kind = torch.float64 if self._generator.device.type != "mps" else torch.float32
        return torch.rand(len(inputs), generator=self._generator, dtype=kind, device=self._generator.device)

    @property
    def room(self) -> int:
        """How many rows are kept."""
        inputs, *others = (max(1, part[0].numel() * part.element_size()) for part in self._kept[0])
        return max(1, min(self._most, self._memory // inputs, *(4 * self._memory // size for size in others)))

    def _thin(self, count: int) -> None:
        keys = torch.cat(self._keys)
        order = keys.argsort()[:count]
        self._keys = [keys[order]]
        with torch.inference_mode(False):
            joined = (torch.cat(parts) for parts in zip(*self._kept, strict=True))
            self._kept = [tuple(part[order.to(part.device)] for part in joined)]

    def rows(self) -> SampledRows | None:
        """What was kept; None where nothing came by."""
        if not self._kept or self._has is None:
            return None
        self._thin(self.room)
        inputs, *others = (part.cpu() for part in self._kept[0])
        take: Callable[[bool], Tensor | None] = lambda there: others.pop(0) if there else None  # noqa: E731
        scores, target = (take(there) for there in self._has)
        return SampledRows(inputs, scores, target, self._seen)
