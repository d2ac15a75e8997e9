"""Where the seconds of a run went, row by row."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import final

from lightning_posttrain.profile.clock.actions import APART, Meaning, meanings
from lightning_posttrain.profile.clock.clock import Clock

BESIDE = Meaning("background", "background drawing and writing (CPU, beside the run)")
"""What a thread does meanwhile, which is no part of the run's seconds."""
NO_PART = (APART, BESIDE.kind)
"""Kinds of rows that are no part of the run."""


@final
@dataclass(frozen=True)
class Spent:
    """Seconds of one row.

    Args:
        name: of a callback's class, or of what Lightning did.
        kind: as ``Meaning`` has it, or ``"background"``.
        seconds: of its own; of the CPU for the background.
        calls: how many hooks, steps or fetches.
        share: of the run's seconds, also of what is no part of them.
    """

    name: str
    kind: str
    seconds: float
    calls: int
    share: float


def spent(clock: Clock, background: float | None = None) -> tuple[Spent, ...]:
    """Where the seconds of a run went until this moment, most first; they add up to ``seconds_of`` it.

    What comes after this moment is in no row: in a report made in ``on_fit_end``, for one, the wait in ``teardown`` for
    pictures that are still being drawn, and the closing of loggers. A hook that has to wait until the background's
    Python lets it go on has that wait among its seconds.

    Args:
        clock: that was placed.
        background: seconds of the CPU that a thread took beside the run, for a last row that is not part of the sum,
            as what was done apart from the run is not.
    """
    wall, accounts = clock.read()
    rows: dict[Meaning, tuple[list[float], int]] = {}
    for action, meaning in meanings(accounts).items():
        seconds, calls = rows.get(meaning, ([], 0))
        rows[meaning] = ([*seconds, accounts[action].seconds], calls + accounts[action].calls)
    run = wall - math.fsum(one for meaning, (seconds, _) in rows.items() if meaning.kind == APART for one in seconds)
    found = [_row(meaning, math.fsum(seconds), calls, run) for meaning, (seconds, calls) in rows.items()]
    beside = [] if background is None else [_row(BESIDE, background, 0, run)]
    return (*sorted(found, key=lambda row: (row.kind == APART, -row.seconds)), *beside)


def _row(meaning: Meaning, seconds: float, calls: int, wall: float) -> Spent:
    return Spent(meaning.name, meaning.kind, seconds, calls, seconds / wall if wall else math.nan)


def accounted(rows: Iterable[Spent]) -> float:
    """The share of a run's seconds that passed in an action with a name."""
    return math.fsum(row.share for row in rows if row.kind not in ("outside", *NO_PART))


def seconds_of(rows: Iterable[Spent]) -> float:
    """Seconds of the run: the sum of the rows that are part of it."""
    return math.fsum(row.seconds for row in rows if row.kind not in NO_PART)
