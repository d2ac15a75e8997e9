"""Iterate a loader beside the trainer's own epochs, without a trace in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils.data import DataLoader

from lightning_posttrain.core.capture.dataset_copy import dataset_copy
from lightning_posttrain.core.capture.foreign import attribute


@contextmanager
def untouched(loader: Any) -> Iterator[None]:
    """Put back, afterwards, what a loader and its samplers hold, and their generators; items are of a dataset's copy.

    Workers that persist for the trainer are left to it.

    Args:
        loader: of torch, or another one.
    """
    holders = [each for each in _holders(loader) if hasattr(each, "__dict__")]
    attributes = [(vars(each), dict(vars(each))) for each in holders]
    lists = [(value, list(value)) for _, held in attributes for value in held.values() if type(value) is list]
    found = (value for _, held in attributes for value in held.values() if isinstance(value, torch.Generator))
    generators = [(generator, generator.get_state()) for generator in found]
    try:
        if isinstance(loader, DataLoader):
            vars(loader).update(dataset=dataset_copy(loader.dataset), _iterator=None)
        yield
    finally:
        for own, held in attributes:
            own.clear()
            own.update(held)
        for value, items in lists:
            value[:] = items
        for generator, state in generators:
            generator.set_state(state)


def _holders(loader: Any) -> list[Any]:
    """The loader, what draws its batches, and what draws rows for these."""
    batches = attribute(loader, "batch_sampler")
    rows = [attribute(loader, "sampler"), attribute(batches, "sampler")]
    inner = [attribute(each, "sampler") for each in rows]  # of what wraps one for several ranks
    found = [each for each in (loader, batches, *rows, *inner) if each is not None]
    return list({id(each): each for each in found}.values())
