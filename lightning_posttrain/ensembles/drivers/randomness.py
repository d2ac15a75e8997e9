"""Random numbers of a member: told by the driver's seed and the member's number, and gone when it ends."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from lightning.pytorch import seed_everything
from lightning.pytorch.utilities.seed import isolate_rng
from torch.utils.data import DataLoader

from lightning_posttrain.core.capture.foreign import attribute

ENVIRONMENT = ("PL_GLOBAL_SEED", "PL_SEED_WORKERS")
"""What ``seed_everything`` leaves behind."""


def seed_of(seed: int, member: int, purpose: int = 0) -> int:
    """A seed below 2**32 for one member and purpose; different for all of them.

    Example:
        >>> seed_of(0, 1) == seed_of(0, 1), seed_of(0, 1) == seed_of(1, 0)
        (True, False)
    """
    return int(np.random.SeedSequence([seed, member, purpose]).generate_state(1)[0])


def cuda_has_begun() -> bool:
    """Whether this process uses CUDA."""
    return bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]


@contextmanager
def isolated(seed: int) -> Iterator[None]:
    """Seed everything inside, and put back generators, the environment and torch's deterministic mode at the end."""
    before = {name: os.environ.get(name) for name in ENVIRONMENT}
    deterministic = torch.are_deterministic_algorithms_enabled()
    warns = torch.is_deterministic_algorithms_warn_only_enabled()
    cuda = cuda_has_begun()  # to ask for its generators would start it, after which no process can fork
    try:
        with isolate_rng(include_cuda=cuda):
            seed_everything(seed, workers=True, verbose=False)
            yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        torch.use_deterministic_algorithms(deterministic, warn_only=warns)
        if cuda_has_begun() and not cuda:
            torch.cuda.manual_seed_all(torch.initial_seed())


@contextmanager
def reseeded(loaders: Any, seed: int) -> Iterator[None]:
    """Seed the generators that loaders and their samplers have of their own, and put them back."""
    each = loaders if isinstance(loaders, (list, tuple)) else [loaders]
    owners = [owner for one in each if isinstance(one, DataLoader) for owner in (one, one.sampler)]
    found = [generator for owner in owners if (generator := attribute(owner, "generator")) is not None]
    with ExitStack() as after:
        for generator in found:
            after.callback(generator.set_state, generator.get_state())
            generator.manual_seed(seed)
        yield
