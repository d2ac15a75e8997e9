"""Counters of energy that the hardware has, and why one cannot be read."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

MOST_WATTS = 1000.0
"""More than a processor's package draws: in less time than this takes, no counter comes round unseen."""
ZONES = ("package", "dram")
"""RAPL's zones that add up; others are parts of a package, or hold it."""
NVIDIA = "NVIDIA devices: not measured, as"
RAPL = "processors: not measured, as"


class CounterError(Exception):
    """A counter cannot be read, and why."""


@dataclass
class Counter:
    """One that only rises, but for coming round.

    Args:
        name: for people.
        read: gives joules since some moment.
        comes_round: joules after which it is at 0 again.
        joules: since ``begin``.
        fault: why these are not to be believed.
    """

    name: str
    read: Callable[[], float]
    comes_round: float = math.inf
    joules: float = 0.0
    fault: str = ""
    _before: float = 0.0

    def begin(self) -> None:
        """Read for the first time.

        Raises:
            CounterError: it cannot be read.
        """
        self._before = self.read()

    def note(self, seconds: float) -> None:
        """Add what came since the reading before, so many seconds ago."""
        try:
            now = self.read()
        except CounterError as error:
            self.fault = str(error)
            return
        drawn = now - self._before + (self.comes_round if now < self._before else 0.0)
        self._before = now
        self.joules += drawn
        if not math.isfinite(drawn):
            self.fault = "the counter went back"
        elif seconds * MOST_WATTS > self.comes_round:
            self.fault = f"readings were {seconds:.0f} s apart, in which the counter may have come round unseen"


def uuids_of(devices: Sequence[torch.device]) -> tuple[str, ...]:
    """The UUIDs of CUDA devices, which tell boards apart whatever ``CUDA_VISIBLE_DEVICES`` hides; others have none."""
    found = (torch.cuda.get_device_properties(device) for device in devices if device.type == "cuda")
    return tuple(f"GPU-{one.uuid}" for one in found)


def of_boards(uuids: Sequence[str]) -> list[Counter]:
    """NVML's counters of NVIDIA boards.

    Raises:
        CounterError: there is no NVML, or it does not know a board.
    """
    if not uuids:
        return []
    try:
        nvml = importlib.import_module("pynvml")
    except ImportError:
        raise CounterError(f"{NVIDIA} pynvml is missing; pip install nvidia-ml-py") from None
    try:
        nvml.nvmlInit()
        handles = [nvml.nvmlDeviceGetHandleByUUID(uuid) for uuid in uuids]
    except nvml.NVMLError as error:
        raise CounterError(f"{NVIDIA} NVML says: {error}") from None
    return [
        Counter(f"{uuid} (NVML, whole board)", partial(_board, nvml, handle))
        for uuid, handle in zip(uuids, handles, strict=True)
    ]


def _board(nvml: Any, handle: Any) -> float:
    try:
        return float(nvml.nvmlDeviceGetTotalEnergyConsumption(handle)) / 1e3
    except nvml.NVMLError as error:
        raise CounterError(f"{NVIDIA} NVML says: {error}") from None


def of_processors(folder: Path) -> list[Counter]:
    """RAPL's counters of packages, and of memory that is counted apart from them.

    Raises:
        CounterError: there are none.
    """
    zones = {zone: _text(zone / "name") for zone in sorted(folder.glob("intel-rapl:*"))}
    found = [_zone(zone, name) for zone, name in zones.items() if name.startswith(ZONES)]
    if not found:
        raise CounterError(f"{RAPL} {folder} has no counter of RAPL")
    return found


def _zone(zone: Path, name: str) -> Counter:
    read = partial(_joules, zone / "energy_uj")
    return Counter(f"{name} ({zone.name}, whole machine)", read, _joules(zone / "max_energy_range_uj"))


def _joules(file: Path) -> float:
    return int(_text(file)) / 1e6


def _text(file: Path) -> str:
    try:
        return file.read_text().strip()
    except PermissionError:
        raise CounterError(f"{RAPL} {file} may be read by root alone") from None
    except OSError as error:
        raise CounterError(f"{RAPL} {file} cannot be read: {error.strerror}") from None
