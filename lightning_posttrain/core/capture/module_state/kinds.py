"""How what a module keeps is put back, by its type."""

from __future__ import annotations

import array
import collections
import functools
import io
import random
import types
from collections.abc import Callable, Collection
from itertools import chain
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from lightning_posttrain.core.capture.module_state.stand_ins import is_builtin_iterator

Kind = Literal[
    "leaf", "tensor", "module", "numpy", "random", "file", "iterator", "moving", "list", "dict", "set", "deque",
    "array", "tuple", "partial", "method", "object",
]  # fmt: skip

KINDS: tuple[tuple[type | tuple[type, ...], Kind], ...] = (
    ((type, random.SystemRandom, torch.Size), "leaf"),
    (torch.Tensor, "tensor"),
    (nn.Module, "module"),
    (np.ndarray, "numpy"),
    ((torch.Generator, np.random.Generator, np.random.BitGenerator, np.random.RandomState, random.Random), "random"),
    (io.IOBase, "file"),
    (list, "list"),
    (dict, "dict"),
    ((set, frozenset), "set"),
    (collections.deque, "deque"),
    ((bytearray, array.array), "array"),
    (tuple, "tuple"),
    (functools.partial, "partial"),
    (types.MethodType, "method"),
    (types.SimpleNamespace, "object"),
)
MOVING = ("_queue", "socket", "multiprocessing.connection", "multiprocessing.queues", "sqlite3.Cursor")
"""Where types come from that cannot be copied and change when they are used; iterators are told by ``__next__``."""
FOREIGN = (
    # the program around the module, which a forward does not change
    "lightning", "pytorch_lightning", "lightning_fabric", "lightning_utilities", "lightning_posttrain", "torch",
    "torchmetrics", "accelerate", "deepspeed", "ray", "datasets", "webdataset", "wandb", "mlflow", "neptune",
    "comet_ml", "clearml", "aim", "tensorboard", "tensorboardX", "tqdm", "rich", "requests", "httpx", "redis", "grpc",
    "asyncio", "concurrent", "ctypes", "logging", "multiprocessing", "sqlite3", "subprocess", "threading", "_thread",
    "weakref", "contextvars",
    # what is read alone, or changes nothing but a cache of its own
    "numpy", "pandas", "polars", "pyarrow", "PIL", "cv2", "matplotlib", "omegaconf", "tokenizers", "sentencepiece",
    "transformers.tokenization_utils_base", "transformers.configuration_utils", "bitsandbytes", "datetime", "decimal",
    "enum", "fractions", "functools", "inspect", "ipaddress", "pathlib", "re", "uuid", "zoneinfo",
)  # fmt: skip
"""Where types come from whose objects are not looked into, nor those of types that derive from them."""
LOOKED_INTO = ("torch.distributions",)
HEAP = 1 << 9
"""Flag of a type that a program made, Py_TPFLAGS_HEAPTYPE."""


def _kind_of(kind: type) -> Kind:
    known = next((name for types_, name in KINDS if issubclass(kind, types_)), None)
    if known is not None:
        return known
    if is_builtin_iterator(kind):
        return "iterator"
    if any(_within(base, MOVING) for base in kind.__mro__):
        return "moving"
    inside = bool(kind.__flags__ & HEAP) and bool(kind.__dictoffset__ or slots_of(kind))
    if inside and not any(is_foreign(base) for base in kind.__mro__):
        return "object"
    return "moving" if hasattr(kind, "__next__") else "leaf"


def is_foreign(kind: type) -> bool:
    """Whether a class is of a place that is not looked into."""
    return _within(kind, FOREIGN) and not _within(kind, LOOKED_INTO)


def _within(kind: type, places: tuple[str, ...]) -> bool:
    name = f"{kind.__module__}.{kind.__qualname__}."
    return any(name.startswith(f"{place}.") for place in places)


def _slots_of(kind: type) -> tuple[Any, ...]:
    made = (base for base in kind.__mro__ if "__slots__" in vars(base) and base.__flags__ & HEAP)
    return tuple(one for base in made for one in vars(base).values() if type(one) is types.MemberDescriptorType)


def _classes_of(kind: type) -> tuple[type, ...]:
    return tuple(base for base in kind.__mro__ if base.__flags__ & HEAP and not is_foreign(base) and _is_written(base))


def _is_written(kind: type) -> bool:
    return kind.__module__ not in ("abc", "typing", "collections", "collections.abc", "builtins", "types")


kind_of: Callable[[type], Kind] = functools.lru_cache(maxsize=4096)(_kind_of)
"""How an object of a type is put back; ``"leaf"``: not at all, as it does not change."""
slots_of: Callable[[type], tuple[Any, ...]] = functools.lru_cache(maxsize=4096)(_slots_of)
"""The descriptors of a type's ``__slots__``."""
classes_of: Callable[[type], tuple[type, ...]] = functools.lru_cache(maxsize=4096)(_classes_of)
"""A type and those that it derives from, as far as users write them."""


def kinds_apart(values: Collection[Any]) -> set[type]:
    """The types of values that are not leaves, nor tuples of leaves."""
    apart = {kind for kind in set(map(type, values)) if kind_of(kind) != "leaf"}
    tuples = {kind for kind in apart if kind_of(kind) == "tuple"}
    return apart - tuples if tuples and not kinds_inside(values, tuples) else apart


def kinds_inside(values: Collection[Any], kinds: set[type]) -> set[type]:
    """The types of what values of some kinds hold, but for leaves."""
    inside = chain.from_iterable(value for value in values if type(value) in kinds)
    return {kind for kind in set(map(type, inside)) if kind_of(kind) != "leaf"}
