"""Which of the keys of all ranks are the smallest, found from sums over ranks, digit by digit."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

BITS = 63
"""Of a key, which is not negative."""
DIGIT = 12
"""Bits that one sum over ranks settles."""
SPARE = 4
"""One part in so many may be sent beyond what is wanted."""


@final
class Smallest:
    """Leaves keys out, on every rank, until all ranks together have hardly more than the ``count`` smallest.

    Ranks call ``survey``, sum what it gives, and give the sum to ``chosen``; again, as long as ``seeks``.

    Args:
        count: how many keys are wanted.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._low, self._open = 0, BITS
        self._rank = 0
        self._settled = False

    def seeks(self, keys: int) -> bool:
        """Whether all ranks together have more keys than are wanted, and than are worth another sum."""
        return keys > self.count + self.count // SPARE and not self._settled

    def survey(self, keys: Tensor, rank: int, ranks: int) -> Tensor:
        """How many of this rank's keys ``(N,)`` have each next digit, or, of equal ones, how many there are by rank.

        The last number is of those that are wanted for certain.
        """
        self._rank = rank
        among = keys >= self._low
        if self._open:
            counts = torch.zeros((1 << self._digit) + 1, dtype=torch.int64, device=keys.device)
            digits = (keys - self._low).clamp(min=0) >> (self._open - self._digit)
            counts.index_add_(0, digits, among.long())
        else:
            counts = torch.zeros(ranks + 1, dtype=torch.int64, device=keys.device)
            counts[rank] = among.sum()
        counts[-1] = (~among).sum()
        return counts

    def chosen(self, keys: Tensor, total: Tensor) -> Tensor:
        """Which of this rank's keys are still wanted ``(N,)`` bool."""
        wanted = self.count - int(total[-1])
        if not self._open:
            self._settled = True
            among = keys >= self._low
            return ~among | (among.cumsum(0) <= wanted - int(total[: self._rank].sum()))
        digit = int((total[:-1].cumsum(0) < wanted).sum())
        self._open -= self._digit
        self._low += digit << self._open
        return keys <= self._low + (1 << self._open) - 1

    @property
    def _digit(self) -> int:
        return min(DIGIT, self._open)
