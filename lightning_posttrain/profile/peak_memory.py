"""The most memory that a process had, by the counters of the system and of the device."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any, final

import torch

_RESIDENT = "most resident memory of the process since it began (ru_maxrss)"
_ALLOCATED = "most memory of tensors on {device} since the process began, or somebody reset it (max_memory_allocated)"


@final
@dataclass(frozen=True)
class PeakMemory:
    """The most memory that there was, in bytes, or why it is not known.

    Args:
        resident: of the process, in the machine's memory; None where it was not measured.
        allocated: of tensors on the device; None where it was not measured.
        words: what each figure is, or why there is none.
    """

    resident: int | None
    allocated: int | None
    words: tuple[str, ...]


def peak_memory(device: torch.device) -> PeakMemory:
    """The peaks until this moment; no counter is reset, as somebody else may read it.

    Args:
        device: that the module is on.
    """
    resident, of_resident = _resident()
    allocated, of_allocated = _allocated(device)
    return PeakMemory(resident, allocated, (of_resident, of_allocated))


def _resident() -> tuple[int | None, str]:
    try:
        import resource
    except ImportError:
        return None, "resident memory: not measured, as this system has no getrusage"
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit, _RESIDENT


def _allocated(device: torch.device, cuda: Any = torch.cuda) -> tuple[int | None, str]:
    if device.type != "cuda":
        return None, f"memory of a device: not measured, as {device} keeps no peak of its own"
    return int(cuda.max_memory_allocated(device)), _ALLOCATED.format(device=device)
