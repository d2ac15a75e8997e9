"""Leave no trace of a run of the module."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from lightning_posttrain.core.capture.module_state.random_numbers import kept_random_numbers
from lightning_posttrain.core.capture.module_state.walk import StateWalk


@contextmanager
def kept_state(module: nn.Module, *, seed: int | None = None, gradients: bool = False) -> Iterator[None]:
    """Put back all that forwards inside changed: what the module keeps, at any depth, and the random numbers.

    Kept by object and by value: buffers, and what attributes of each part hold, and those of the classes that users
    wrote: tensors, containers, NumPy arrays, generators of random numbers, objects, modules that are not registered,
    iterators of Python's own, positions of files. Attributes, hooks and parts that were added are gone, those that
    were taken away are there again.

    For what cannot be copied, as what a generator function gives, a socket or a queue of the operating system, and for
    what is too large, there is a stand-in, which raises when a forward uses it, before anything has changed.

    It costs, on one core, 0.1 ms for the random numbers and 0.02 ms for each part of the module: 0.2 ms for a small
    network, 1.3 ms for a ResNet-18, 1.7 ms with 10 MB of buffers, 1.5 ms with a list of 100,000 numbers. Each tensor,
    object or container in attributes adds some 0.01 ms, and the time in which its content is copied.

    Not seen: values of parameters, which a forward only reads, but for those of embeddings with ``max_norm``; global
    variables and closures; the inside of objects that are not written in Python; trainers, loggers, optimizers,
    loaders and datasets, which a forward leaves alone.

    Args:
        module: the module.
        seed: what the random numbers inside start from; they go on if it is None.
        gradients: whether gradients are to go through it: copies take the place of tensors that were made in
            inference mode, which autograd refuses.

    Raises:
        CannotBePutBackError: something that cannot be copied is held where none can stand for it.

    Example:
        >>> import torch
        >>> norm = nn.BatchNorm1d(2)
        >>> norm.seen = {"rows": [3]}
        >>> with kept_state(norm):
        ...     norm.seen["rows"].append(len(norm(torch.ones(5, 2))))
        >>> norm.running_mean, norm.seen
        (tensor([0., 0.]), {'rows': [3]})
    """
    walk = StateWalk(module, gradients=gradients)
    with kept_random_numbers(module, seed):
        try:
            walk.keep()
            yield
        finally:
            walk.put_back()
