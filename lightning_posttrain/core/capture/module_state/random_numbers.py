"""The program's own generators of random numbers: those of Python, NumPy, torch and the module's devices."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn


@contextmanager
def kept_random_numbers(module: nn.Module, seed: int | None = None) -> Iterator[None]:
    """Put every generator back; inside they start from ``seed``, or go on where it is None."""
    python, numpy, cpu = random.getstate(), np.random.get_state(), torch.get_rng_state()
    found: list[tuple[torch.device, Any]] = [(one, getattr(torch, one.type, None)) for one in _devices(module)]
    accelerators = [(device, backend) for device, backend in found if hasattr(backend, "set_rng_state")]
    states = [(device, backend, backend.get_rng_state(device)) for device, backend in accelerators]
    try:
        if seed is not None:
            random.seed(seed)
            np.random.seed(seed)
            torch.default_generator.manual_seed(seed)  # torch.manual_seed would reach other devices too
            for device, backend in accelerators:
                backend.set_rng_state(torch.Generator(device).manual_seed(seed).get_state(), device)
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_rng_state(cpu)
        for device, backend, state in states:
            backend.set_rng_state(state, device)


def _devices(module: nn.Module) -> set[torch.device]:
    """Where the module computes, but for the CPU."""
    stores = ((part._parameters, part._buffers) for part in module.modules())
    tensors = (tensor for pair in stores for store in pair for tensor in store.values() if tensor is not None)
    said = getattr(module, "device", None)  # of a LightningModule, which may have no parameters
    devices = {tensor.device for tensor in tensors} | ({said} if isinstance(said, torch.device) else set())
    return {device for device in devices if device.type not in ("cpu", "meta")}
