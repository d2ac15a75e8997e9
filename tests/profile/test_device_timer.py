"""Calls on a device are timed by its events."""

import math
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch

from lightning_posttrain.profile.device_timer import by_events, timer_of


def test_a_call_stands_between_two_events_after_a_wait_for_what_came_before():
    told = []

    class Event:
        def __init__(self, enable_timing):
            assert enable_timing
            self.number = len([one for one in told if one[0] == "event"])
            told.append(("event", self.number))

        def record(self):
            told.append(("record", self.number))

        def synchronize(self):
            told.append(("wait", self.number))

        def elapsed_time(self, other):
            assert (self.number, other.number) == (0, 1)
            return 250.0

    cuda = SimpleNamespace(
        Event=Event, device=lambda device: nullcontext(), synchronize=lambda device: told.append(("wait", device))
    )
    times = by_events(cuda, "cuda:1", lambda: told.append(("call", None)))
    assert told[2:] == [("wait", "cuda:1"), ("record", 0), ("call", None), ("record", 1), ("wait", 1)]
    assert times.seconds == 0.25
    assert 0 < times.host < 10


def test_a_cpu_is_timed_by_the_clock_of_the_host():
    times = timer_of(torch.device("cpu"))(lambda: None)
    assert 0 < times.seconds < 10
    assert math.isnan(times.host)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="wants a CUDA device")
def test_on_cuda_a_product_takes_as_long_as_its_kernel():
    matrix = torch.ones(2048, 2048, device="cuda")
    times = [timer_of(matrix.device)(lambda: matrix @ matrix) for _ in range(20)][-1]
    assert 1e-5 < times.seconds <= times.host < 10
