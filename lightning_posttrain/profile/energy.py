"""Joules between two readings of the counters that the hardware has; never a model of watts."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import final

from lightning_posttrain.profile.energy_counters import Counter, CounterError, of_boards, of_processors

FOLDER = Path("/sys/class/powercap")
INTERVAL = 10.0
"""Seconds between two readings."""


@final
@dataclass(frozen=True)
class Energy:
    """What was drawn, by each counter.

    Args:
        joules: of all counters; None where there is none.
        parts: joules by counter.
        missing: what was not measured, and why.
    """

    joules: float | None
    parts: Mapping[str, float]
    missing: tuple[str, ...]

    @property
    def words(self) -> str:
        """By which counters, and what was not measured, and why; without a full stop."""
        return "; ".join([*(f"{name}: {joules:.4g} J" for name, joules in self.parts.items()), *self.missing])


@final
class EnergyMeter:
    """Adds up what counters tell between ``begin`` and ``end``.

    Of NVIDIA boards by NVML (Volta and newer), of processors by RAPL, as Linux shows it, which since 2020 only root may
    read: packages, and memory where it is counted apart. Each counts all that a board or machine draws, for whomever.
    RAPL's counters come round within minutes to hours: call ``note`` in each step, which reads every ten seconds. Each
    method takes the time ``now``, in seconds from any moment on.

    Args:
        boards: UUIDs of the NVIDIA devices of the run, as ``uuids_of`` gives them.
        folder: of RAPL's counters.
    """

    def __init__(self, boards: Sequence[str] = (), folder: Path = FOLDER) -> None:
        self._finders: tuple[Callable[[], list[Counter]], ...] = (
            partial(of_boards, tuple(boards)),
            partial(of_processors, folder),
        )
        self._counters: list[Counter] = []
        self._missing: list[str] = []
        self._since = 0.0

    def begin(self, now: float) -> None:
        """Read for the first time."""
        self._since, self._counters, self._missing = now, [], []
        for find in self._finders:
            try:
                found = find()
                for counter in found:
                    counter.begin()
                self._counters += found
            except CounterError as error:
                self._missing.append(str(error))

    def note(self, now: float) -> None:
        """Read, if the last reading is ten seconds old."""
        if now - self._since >= INTERVAL:
            self._read(now)

    def end(self, now: float) -> Energy:
        """Read, for what was drawn so far."""
        self._read(now)
        parts = {counter.name: counter.joules for counter in self._counters if not counter.fault}
        faults = [f"{counter.name}: not measured, as {counter.fault}" for counter in self._counters if counter.fault]
        return Energy(math.fsum(parts.values()) if parts else None, parts, (*self._missing, *faults))

    def _read(self, now: float) -> None:
        for counter in self._counters:
            counter.note(now - self._since)
        self._since = now
