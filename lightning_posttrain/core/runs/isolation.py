"""Random numbers of a run, told by a seed; generators, the environment and the interrupt are as before at its end."""

from __future__ import annotations

import os
import random
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from lightning.pytorch import seed_everything

SET_BY_LIGHTNING = frozenset(
    {"CUBLAS_WORKSPACE_CONFIG", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "RANK", "WORLD_SIZE"}
)
"""Variables of a deterministic Trainer and of ranks, beside those with PL_; the next run wants a port of its own."""


def seed_of(seed: int, number: int, purpose: int = 0) -> int:
    """A seed below 2**32 for one run of several and for one purpose in it; different for all of them.

    ``seed + number`` would give nearly the same runs to seeds 0 and 1.

    Example:
        >>> seed_of(0, 1) == seed_of(0, 1), seed_of(0, 1) == seed_of(1, 0)
        (True, False)
    """
    return int(np.random.SeedSequence([seed, number, purpose]).generate_state(1)[0])


def cuda_has_begun() -> bool:
    """Whether this process uses CUDA; once it does, it cannot fork processes that do."""
    return bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]


@contextmanager
def isolated(seed: int) -> Iterator[None]:
    """Seed everything inside, and put back at the end what a Trainer changes of its process.

    These are generators, variables of the environment, torch's deterministic mode and the handler of interrupts.
    """
    with _kept_environment(), _kept_interrupt(), _kept_deterministic_mode(), _kept_generators():
        seed_everything(seed, workers=True, verbose=False)
        yield


@contextmanager
def _kept_generators() -> Iterator[None]:
    """After an error as well, unlike with Lightning's ``isolate_rng``."""
    python, numpy, cpu = random.getstate(), np.random.get_state(), torch.get_rng_state()
    cuda = torch.cuda.get_rng_state_all() if cuda_has_begun() else None  # to ask for them would start it
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_rng_state(cpu)
        if cuda is not None:
            torch.cuda.set_rng_state_all(cuda)
        elif cuda_has_begun():
            torch.cuda.manual_seed_all(torch.initial_seed())


@contextmanager
def _kept_deterministic_mode() -> Iterator[None]:
    mode = torch.are_deterministic_algorithms_enabled()
    warns = torch.is_deterministic_algorithms_warn_only_enabled()
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(mode, warn_only=warns)


@contextmanager
def _kept_environment() -> Iterator[None]:
    before = {name: value for name, value in os.environ.items() if _is_lightnings(name)}
    try:
        yield
    finally:
        for name in [name for name in os.environ if _is_lightnings(name) and name not in before]:
            del os.environ[name]
        os.environ.update(before)


def _is_lightnings(name: str) -> bool:
    return name.startswith("PL_") or name in SET_BY_LIGHTNING


@contextmanager
def _kept_interrupt() -> Iterator[None]:
    """A Trainer that was interrupted lets the process hear no interrupt any more."""
    before = signal.getsignal(signal.SIGINT)
    # only the main thread may set a handler, and one that is not Python's is None and cannot be set
    settable = threading.current_thread() is threading.main_thread() and before is not None
    try:
        yield
    finally:
        if settable:
            signal.signal(signal.SIGINT, before)
