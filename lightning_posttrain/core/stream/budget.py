"""Whether there is room in a run for pictures, tables, intervals and explanations, by what they took so far."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from threading import Lock
from typing import final

SHORT = 60.0
"""Seconds that a run is taken to last at least: what a shorter one may spend is no less."""


@final
class Budget:
    """Decides, for a whole evaluation at once, whether optional work is done in it.

    All work that keeps to the same share of the run is done in the same evaluations, so that pictures of different
    kinds show the same epochs. It is done where what it took so far, and is expected to take now, as each did the last
    time, is no more than the share of the seconds that the run took without it. The first time it is always done.

    Example:
        >>> budget = Budget()
        >>> budget.settle(budget.propose("epoch 1", [0.1], elapsed=100.0))
        >>> budget.charge(0.1, "maps", 8.0)
        >>> budget.settle(budget.propose("epoch 2", [0.1], elapsed=110.0))
        >>> budget.allows(0.1)
        False
        >>> budget.settle(budget.propose("epoch 3", [0.1], elapsed=170.0))
        >>> budget.allows(0.1), budget.asked, budget.left_out
        (True, 3, 1)
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._spent: dict[float | None, float] = {}
        self._last: dict[tuple[float | None, str], float] = {}
        self._moment: Hashable = None
        self._shares: tuple[float, ...] = ()
        self._allowed: dict[float, bool] = {}
        self.asked, self.left_out = 0, 0

    def charge(self, share: float | None, work: str, seconds: float) -> None:
        """Count what some work took; any thread may.

        Args:
            share: that it keeps to, or None.
            work: its name, by which the next is expected to take as long.
            seconds: of it.
        """
        with self._lock:
            self._spent[share] = self._spent.get(share, 0.0) + seconds
            self._last[share, work] = seconds

    @property
    def spent(self) -> float:
        """Seconds that optional work took so far, whatever share it keeps to."""
        with self._lock:
            return sum(self._spent.values())

    def propose(
        self, moment: Hashable, shares: Sequence[float], *, elapsed: float, last: bool = False
    ) -> list[bool] | None:
        """For each share whether there is room in an evaluation, for ``settle``; None where that is settled.

        Args:
            moment: tells it from others.
            shares: that callbacks of the run keep to.
            elapsed: seconds that the run took without such work.
            last: no other follows, so that it is done.
        """
        if moment == self._moment:
            return None
        self._moment, self._shares = moment, tuple(shares)
        return [last or self._has_room(share, elapsed) for share in shares]

    def settle(self, allowed: Sequence[bool]) -> None:
        """Do what was proposed, on this rank or, where there are several, on the first."""
        self._allowed = dict(zip(self._shares, map(bool, allowed), strict=True))
        self.asked += 1
        self.left_out += not all(allowed)

    def allows(self, share: float | None) -> bool:
        """Whether work that keeps to a share is done in the present evaluation."""
        return share is None or self._allowed.get(share, True)

    def _has_room(self, share: float, elapsed: float) -> bool:
        with self._lock:
            expected = sum(seconds for (of, _), seconds in self._last.items() if of == share)
            return self._spent.get(share, 0.0) + expected <= share * max(elapsed, SHORT) or not expected
