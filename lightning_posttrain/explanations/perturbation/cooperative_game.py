"""Samples taken apart, and what a model gives where some of the parts are hidden."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

from lightning_posttrain.attribution import Chunks, OutOfTimeError

Forward = Callable[[Tensor], Tensor]
"""From rows ``(n, ...)`` to outputs ``(n, C)``, or one output a row ``(n,)``."""


@dataclass(eq=False)
class Game:
    """A game whose players are the parts of a sample, and whose value is the model's output.

    Args:
        forward: the model, in eval mode; whatever is passed to it is a copy, which it may change.
        inputs: the samples ``(K, ...)``, on the model's device.
        parts: the part that each value of an input belongs to, whole numbers from 0: ``(K, ...)``, or ``(1, ...)``
            where all samples are taken apart alike; dimensions of size 1, as of the channels, stand for all of them.
            A value with the number ``count`` belongs to no part, as padding: it is always there.
        count: ``M``, how many parts there are.
        hidden: what stands for a hidden part: ``(K, B, ...)``, or ``(1, B, ...)``; the output is the mean over ``B``.
        chunks: how many rows at a time, and how long.

    Example:
        >>> x = torch.tensor([[1.0, 2.0]])
        >>> game = Game(lambda rows: rows.sum(1), x, torch.arange(2)[None], 2, torch.zeros(1, 1, 2))
        >>> game.outputs(torch.tensor([[True, False], [True, True]])).tolist()
        [[[1.0], [3.0]]]
    """

    forward: Forward
    inputs: Tensor
    parts: Tensor
    count: int
    hidden: Tensor
    chunks: Chunks = field(default_factory=lambda: Chunks(1024))

    def __len__(self) -> int:
        return len(self.inputs)

    def outputs(self, present: Tensor, *, partial: bool = False) -> Tensor:
        """Outputs ``(K, n, C)``, float32, where the parts that are there are ``present (n, M)`` or ``(K, n, M)``, bool.

        Args:
            present: which parts are there.
            partial: where the time is over, give those of the first rows ``(K, m, C)``, at least one block, instead of
                raising ``OutOfTimeError``.
        """
        present = F.pad(present.to(self.inputs.device), (0, 1), value=True)
        first, done = 0, list[Tensor]()
        while first < present.shape[-2]:
            block = present[..., first : first + max(1, self.chunks.step // self.hidden.shape[1]), :]
            first += block.shape[-2]
            try:
                each = [self._of_one(k, block if block.ndim == 2 else block[k]) for k in range(len(self))]
            except OutOfTimeError:
                if not (partial and done):
                    raise
                break
            done.append(torch.stack(each))
        return torch.cat(done, 1)

    def _of_one(self, k: int, present: Tensor) -> Tensor:
        """Outputs ``(n, C)`` of sample ``k``."""
        x, parts = self.inputs[k], self.parts[k % len(self.parts)]
        hidden = self.hidden[k % len(self.hidden)]
        count, found = len(hidden), []

        def work(numbers: Tensor) -> None:
            numbers = numbers.to(x.device)
            there = present[numbers // count].index_select(1, parts.flatten()).view(-1, *parts.shape)
            behind = hidden[numbers % count] if count > 1 else hidden
            # not inference mode: what a module caches in it could not be differentiated afterwards
            with torch.no_grad():
                found.append(as_outputs(self.forward(torch.where(there, x, behind)), len(numbers)))

        self.chunks.run(len(present) * count, work)
        outputs = torch.cat(found)
        return outputs.view(len(present), count, -1).mean(1)


def ask(forward: Forward, rows: Tensor, chunks: Chunks) -> Tensor:
    """Outputs of rows ``(n, C)``, float32, so many at a time."""
    found: list[Tensor] = []

    def work(numbers: Tensor) -> None:
        with torch.no_grad():
            found.append(as_outputs(forward(rows[numbers.to(rows.device)]), len(numbers)))

    chunks.run(len(rows), work)
    return torch.cat(found)


def pick_of(output: Tensor, target: int | Tensor | None) -> Tensor:
    """The explained output of each sample as weights of the outputs ``(K, C)``; by default the largest.

    Args:
        output: of the samples ``(K, C)``.
        target: one for all, one for each ``(K,)``, or None.

    Raises:
        ValueError: there is no such output.
    """
    count, width = output.shape
    chosen = output.argmax(1) if target is None else torch.as_tensor(target, device=output.device)
    if (
        chosen.is_floating_point()
        or chosen.shape not in ((), (count,))
        or not bool(((chosen >= 0) & (chosen < width)).all())
    ):
        raise ValueError(
            f"`target` is {target}, wanted an output from 0 to {width - 1}, or one for each of {count} samples."
        )
    return torch.nn.functional.one_hot(chosen.expand(count), width).to(output.dtype)


def as_outputs(found: Tensor, rows: int) -> Tensor:
    """What a forward gave for so many rows, as ``(n, C)`` float32.

    Raises:
        ValueError: it is no tensor ``(n,)`` or ``(n, C)``.
    """
    shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
    if not isinstance(found, Tensor) or found.ndim not in (1, 2) or len(found) != rows:
        raise ValueError(
            f"`forward` gives {shape} for {rows} rows, wanted outputs ({rows}, C) or ({rows},). "
            "Wrap it, as forward=lambda x: model(x).logits."
        )
    return found.detach().float().reshape(rows, -1)
