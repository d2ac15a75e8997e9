"""Why a run failed, in one line, and the memory that it held, free for the next."""

from __future__ import annotations

import gc

import torch

from lightning_posttrain.core.runs.isolation import cuda_has_begun

LONGEST = 500
"""Letters of a reason."""


def reason_of(error: BaseException) -> str:
    """Kind and message in one line, out of memory told apart; of an error in another process, that one's.

    Example:
        >>> reason_of(ValueError("no rows")), reason_of(MemoryError("4 GiB"))
        ('ValueError: no rows', 'out of memory: MemoryError: 4 GiB')
    """
    lines = [line.strip() for line in f"{type(error).__name__}: {error}".splitlines() if line.strip()]
    # an error of a rank or of a loader's worker comes as the text of its traceback, which ends with what it was
    short = (lines[-1] if "Traceback" in str(error) else " ".join(lines))[:LONGEST]
    is_memory = isinstance(error, MemoryError | torch.OutOfMemoryError) or "out of memory" in short.lower()
    return f"out of memory: {short}" if is_memory else short


def free_memory() -> None:
    """Give back what a run held, also on the device.

    After an ``except`` block, not inside it: an error holds the frames that it came through, and with them the module
    and its activations.
    """
    gc.collect()
    if cuda_has_begun():
        torch.cuda.empty_cache()
