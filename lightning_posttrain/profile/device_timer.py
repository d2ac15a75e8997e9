"""Times calls on a device, by its own events where it has them."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from lightning_posttrain.core.statistics.latency import Timer, Times, host_timer


def timer_of(device: torch.device) -> Timer:
    """Times calls on a device.

    On CUDA between two events of the device; beside it stand the host's seconds until the second has happened, which
    hold the launch of kernels as well. Elsewhere by the host's clock, which waits for the device.
    """
    if device.type == "cuda":
        return partial(by_events, torch.cuda, device)
    return host_timer(synchronize=getattr(getattr(torch, device.type, None), "synchronize", None))


def by_events(cuda: Any, device: torch.device, call: Callable[[], Any]) -> Times:
    """Seconds of a call between two events of its stream.

    Args:
        cuda: ``torch.cuda``.
        device: the call's.
        call: to be timed.
    """
    with cuda.device(device):
        begin, end = cuda.Event(enable_timing=True), cuda.Event(enable_timing=True)
        cuda.synchronize(device)  # what was asked before is not of this call
        start = time.perf_counter()
        begin.record()
        call()
        end.record()
        end.synchronize()
        host = time.perf_counter() - start
    return Times(begin.elapsed_time(end) / 1000, host)
