"""A trial leaves random numbers, the environment and the keyboard's interrupt as they were."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from lightning_posttrain.core.callback.from_lightning import isolate_rng, seed_everything

RANKS = frozenset({"LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "RANK", "WORLD_SIZE"})
"""What Lightning tells the ranks that it starts; the next trial wants a port of its own."""


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Random numbers from a seed; all is as before at the end."""
    with isolate_rng(), _kept_environment(), _kept_interrupt():
        seed_everything(seed, workers=True, verbose=False)
        yield


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
    return name.startswith("PL_") or name in RANKS


@contextmanager
def _kept_interrupt() -> Iterator[None]:
    """A Trainer that was interrupted lets the process hear no interrupt any more."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
