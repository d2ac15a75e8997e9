"""How much is gathered before it is looked at.

On a processor what stays in its cache is quick. An accelerator takes some microseconds to launch a kernel of whatever
size: many rows at a time make launches few, and a share of its memory bounds them.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch

MOST_ROWS = 1 << 17


class StageSizes(NamedTuple):
    """What is gathered, and looked at in one pass, at most.

    Args:
        scores: that are gathered, 4 bytes each, or 8 of float64.
        rows: whose facts are gathered, up to 36 bytes each, before they are counted.
        at_once: scores that are looked at in one pass; what is formed meanwhile takes four times their memory.
        chunk: scores that are brought into bins in one pass; what is formed meanwhile takes five times their memory.
        inputs: bytes of inputs that are gathered.
    """

    scores: int
    rows: int
    at_once: int
    chunk: int
    inputs: int

    def gathered(self, columns: int) -> int:
        """Rows of so many scores that are gathered."""
        return min(self.scores // columns, MOST_ROWS)

    def passed(self, columns: int) -> int:
        """Rows of so many scores that are looked at in one pass, at least 1."""
        return min(max(self.at_once // columns, 1), 8 * MOST_ROWS)


HOST = StageSizes(scores=1 << 17, rows=1 << 13, at_once=1 << 20, chunk=1 << 17, inputs=1 << 24)
"""Half a megabyte of scores stays in a processor's cache."""


def stage_sizes(device: torch.device, *, labels: bool = False) -> StageSizes:
    """Those of a device; ``labels`` where each score is a decision of its own."""
    return HOST if device.type == "cpu" else accelerator_sizes(_memory(device), labels=labels)


@lru_cache(64)
def accelerator_sizes(memory: int, *, labels: bool = False) -> StageSizes:
    """Those of an accelerator with so many bytes: of scores about a thousandth, 4 to 64 MiB; of inputs 1 in 256.

    Of decisions an eighth, as a dozen facts are formed of each, most of them in float64.

    Example:
        >>> accelerator_sizes(80 << 30).scores == 1 << 24, accelerator_sizes(8 << 30).scores == 1 << 21
        (True, True)
    """
    scores = 1 << min(max((memory >> 12).bit_length() - 1, 20), 24)
    if labels:
        scores >>= 3
    return StageSizes(scores, MOST_ROWS, scores, min(scores, 1 << 23), max(memory >> 8, 1 << 24))


@lru_cache(64)
def _memory(device: torch.device) -> int:
    """Bytes of memory of an accelerator; 8 GiB where it does not tell."""
    return torch.cuda.get_device_properties(device).total_memory if device.type == "cuda" else 8 << 30
