"""A dataset that can be asked for an item without a trace in the user's own."""

from __future__ import annotations

import random
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

GENERATORS = (random.Random, np.random.Generator, np.random.RandomState)


def dataset_copy(dataset: Any, made: dict[int, Any] | None = None) -> Any:
    """A dataset that shares all data with another, and none of its attributes.

    What an item changes is then the copy's: a counter, a generator, a file that is opened when it is first needed,
    which workers must not inherit. Datasets inside are copied alike. What is changed deeper, as the generator of a
    transform or the entries of a cache, is shared. A list or another built-in is given back as it is.

    Args:
        dataset: of any class.
        made: copies by the ``id`` of their originals.

    Example:
        >>> class Counting(Dataset):
        ...     asked = 0
        ...     def __getitem__(self, i):
        ...         self.asked += 1
        ...         return i
        >>> data = Counting()
        >>> dataset_copy(data)[3], data.asked
        (3, 0)
    """
    made = {} if made is None else made
    kind: Any = type(dataset)
    if kind.__new__ is not object.__new__ or not hasattr(dataset, "__dict__"):
        return dataset
    if id(dataset) not in made:
        # a copy that goes away must not close what it shares
        of = type(kind.__name__, (kind,), {"__del__": lambda _: None}) if hasattr(kind, "__del__") else kind
        made[id(dataset)] = copy = object.__new__(of)
        copy.__dict__.update({name: _part(value, made) for name, value in vars(dataset).items()})
    return made[id(dataset)]


def _part(value: Any, made: dict[int, Any]) -> Any:
    """What a copy has for an attribute: datasets and generators of its own, and the same of anything else."""
    if isinstance(value, Dataset):
        return dataset_copy(value, made)
    if isinstance(value, (list, tuple)) and value and isinstance(value[0], Dataset):  # as of a ConcatDataset
        return [_part(each, made) for each in value]
    if isinstance(value, torch.Generator):
        return torch.Generator(value.device).set_state(value.get_state())
    return deepcopy(value) if isinstance(value, GENERATORS) else value
