"""How many rows go through a model at a time: as many as are sure to fit."""

import pytest
import torch

from lightning_posttrain.attribution.chunks import FORWARD, Chunks
from lightning_posttrain.attribution.device_memory import EVER, PEAK, RESERVED, TAKEN, DeviceMemory


class Accelerator:
    """Stands in for ``torch.cuda``: counts bytes as torch's allocator does."""

    def __init__(self, total, peak=0):
        self.total, self.taken, self.ever, self.peak = total, 0, 0, peak

    def memory_stats(self, _device):
        return {TAKEN: self.taken, EVER: self.ever, PEAK: self.peak, RESERVED: self.peak}

    def mem_get_info(self, _device):
        return self.total - self.peak, self.total

    def work(self, rows, each):
        """Take and give back so many bytes a row."""
        if len(rows) * each > self.total:
            raise torch.OutOfMemoryError("CUDA out of memory")
        self.ever += len(rows) * each
        self.peak = max(self.peak, self.taken + len(rows) * each)


@pytest.fixture
def on(monkeypatch):
    """Chunks of a device that an accelerator stands in for."""

    def made(accelerator, size):
        chunks = Chunks(size)
        monkeypatch.setattr(chunks._memory, "_backend", accelerator)
        return chunks

    return made


def sizes_of(chunks, total, work, **cost):
    sizes = []

    def seen(rows):
        work(rows)
        sizes.append(len(rows))

    chunks.run(total, seen, **cost)
    return sizes


def test_rows_are_joined_as_far_as_half_of_the_free_memory_holds_them(on):
    gpu = Accelerator(total=1000)
    assert sizes_of(on(gpu, 4), 100, lambda rows: gpu.work(rows, 10)) == [4, 32, 32, 32]


def test_no_more_rows_are_joined_than_are_wanted(on):
    gpu = Accelerator(total=10**9)
    assert sizes_of(on(gpu, 8), 128, lambda rows: gpu.work(rows, 10)) == [8, 120]


def test_a_peak_of_training_does_not_hide_what_a_row_takes(on):
    gpu = Accelerator(total=10_000, peak=5_000)
    assert sizes_of(on(gpu, 4), 36, lambda rows: gpu.work(rows, 10)) == [4, 32]


def test_what_forwards_alone_take_says_nothing_of_gradients(on):
    gpu = Accelerator(total=1000)
    chunks = on(gpu, 4)
    assert sizes_of(chunks, 12, lambda rows: gpu.work(rows, 1), cost=FORWARD) == [4, 4, 4]
    assert sizes_of(chunks, 12, lambda rows: gpu.work(rows, 60)) == [4, 8]


def test_after_memory_was_short_chunks_grow_no_more(on):
    gpu = Accelerator(total=1000)
    chunks = on(gpu, 16)
    assert sizes_of(chunks, 24, lambda rows: gpu.work(rows, 100 if len(rows) > 8 else 10)) == [8, 8, 8]
    assert "8 rows at a time" in chunks.note


def test_a_cpu_tells_nothing_of_its_memory():
    memory = DeviceMemory(torch.device("cpu"))
    with memory.measured(4):
        pass
    assert memory.rows == 0
    assert sizes_of(Chunks(4), 12, lambda _rows: None) == [4, 4, 4]
