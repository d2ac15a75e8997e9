"""The normalisation that a dataset's own transforms apply, found by what they have."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from types import FunctionType, MethodType
from typing import Any, NamedTuple

import torch
from torch import nn

from lightning_posttrain.core.capture.foreign import attribute

DEEPEST, MOST, ALL = 12, 64, 500
"""Objects inside objects that are looked into, parts of one, and objects at all."""
PAIRS = (("mean", "std"), ("image_mean", "image_std"), ("subtrahend", "divisor"))
"""As torchvision, albumentations and kornia name them; Hugging Face's image processors; MONAI."""


class Normalization(NamedTuple):
    """Mean and standard deviation of each channel, or one of all, of values in 0 to 1."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


def normalization_of(source: Any) -> Normalization | None:
    """The one normalisation among the transforms of a dataset or a loader; None where there is none, or several.

    Looked through are what holds a dataset (``Subset``, ``ConcatDataset``, a loader, any wrapper with ``.dataset``),
    compositions of transforms, modules, partial functions, methods, and functions by the names that they use. A
    transform normalises if it has ``mean`` and ``std``. No package is imported for it.

    Args:
        source: any object; what its attributes raise costs nothing.

    Example:
        >>> from types import SimpleNamespace
        >>> class Normalize:
        ...     mean, std = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
        ...     def __call__(self, image): ...
        >>> dataset = SimpleNamespace(transform=Normalize())
        >>> normalization_of(torch.utils.data.Subset([dataset], [0])), normalization_of(dataset).std
        (None, (0.25, 0.25, 0.25))
    """
    found = set(_of_data(source, DEEPEST))
    return found.pop() if len(found) == 1 else None


def _of_data(source: Any, depth: int) -> Iterator[Normalization]:
    """Of a loader, a dataset, or what holds some."""
    if source is None or depth == 0:
        return
    parts = attribute(source, "datasets")
    inner = [attribute(source, "dataset"), *(parts[:MOST] if isinstance(parts, (list, tuple)) else ())]
    for one in inner:
        yield from _of_data(one, depth - 1)
    for held in _attributes(source):
        if callable(held) or isinstance(held, Mapping):
            yield from _of_transform(held, depth - 1, set())


def _attributes(owner: Any) -> list[Any]:
    """What an object holds itself, and not what its class does."""
    held = attribute(owner, "__dict__")
    return list(held.values()) if isinstance(held, dict) else []


def _of_transform(transform: Any, depth: int, seen: set[int]) -> Iterator[Normalization]:
    if depth == 0 or id(transform) in seen or len(seen) >= ALL or isinstance(transform, type):
        return
    seen.add(id(transform))
    found = _read(transform)
    if found is not None:
        yield found
        return
    for part in _parts(transform):
        yield from _of_transform(part, depth - 1, seen)


def _parts(transform: Any) -> Iterator[Any]:
    """The transforms that one is made of."""
    if isinstance(transform, Mapping):
        yield from _each(list(transform.values())[:MOST])
    elif isinstance(transform, partial):
        yield from _each([transform.func, *transform.args, *transform.keywords.values()])
    elif isinstance(transform, nn.Module):
        yield from chain(transform.children(), _each(_attributes(transform)))
    elif isinstance(transform, FunctionType):
        cells, known = transform.__closure__ or (), transform.__globals__
        yield from _each([cell.cell_contents for cell in cells if _is_filled(cell)])
        yield from _each([known[name] for name in transform.__code__.co_names if name in known])
    elif isinstance(transform, MethodType):
        yield from _each([transform.__func__, *_attributes(transform.__self__)])
    else:
        yield from _each(_attributes(transform))


def _each(held: Sequence[Any]) -> Iterator[Any]:
    """What can be a transform, of what is held and of lists of it."""
    for one in held:
        listed = one[:MOST] if isinstance(one, (list, tuple)) else [one]
        yield from (each for each in listed if callable(each) or isinstance(each, Mapping))


def _is_filled(cell: Any) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:  # of a name that is not bound yet
        return False


def _read(transform: Any) -> Normalization | None:
    """What a transform takes off and divides by, where it does."""
    adds = "noise" in type(transform).__name__.lower()
    other = attribute(transform, "normalization", "standard") != "standard"  # as albumentations' of each image
    if adds or other:
        return None
    flags = attribute(transform, "flags")  # where kornia's augmentations keep their numbers
    get: Callable[[str], Any] = flags.get if isinstance(flags, Mapping) else lambda name: attribute(transform, name)
    for names in PAIRS:
        mean, std = (_numbers(get(name)) for name in names)
        if mean and std and min(std) > 0 and 1 in (len(mean), len(std), len(mean) - len(std) + 1):
            top = 255.0 if max(*mean, *std) > 2 else 1.0
            return Normalization(tuple(each / top for each in mean), tuple(each / top for each in std))
    return None


def _numbers(given: Any) -> tuple[float, ...]:
    """Numbers of channels; none where it is something else."""
    if isinstance(given, (str, bytes)) or given is None or (callable(given) and not isinstance(given, torch.Tensor)):
        return ()
    try:
        listed = torch.as_tensor(given, dtype=torch.float64).flatten().tolist()
    except (TypeError, ValueError, RuntimeError):
        return ()
    return tuple(listed) if 0 < len(listed) <= MOST and all(map(math.isfinite, listed)) else ()
