"""Peaks of memory, in bytes, each by its own counter."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from lightning_posttrain.profile.peak_memory import _allocated, peak_memory


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is of Linux")
def test_the_process_has_had_what_the_system_says():
    block = torch.ones(16 * 1024 * 1024 // 4)
    peak = peak_memory(torch.device("cpu"))
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    assert peak.resident == pytest.approx(int(status["VmHWM"].split()[0]) * 1024, rel=0.05)
    assert peak.resident > block.nbytes
    assert peak.allocated is None
    assert "not measured" in peak.words[1]


def test_a_system_without_the_counter_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "resource", None)
    peak = peak_memory(torch.device("cpu"))
    assert peak.resident is None
    assert peak.words[0] == "resident memory: not measured, as this system has no getrusage"


def test_a_device_tells_the_most_that_it_gave_to_tensors():
    device = torch.device("cuda", 1)
    allocated, words = _allocated(device, SimpleNamespace(max_memory_allocated={device: 1024}.get))
    assert allocated == 1024
    assert words.startswith("most memory of tensors on cuda:1")
