"""The names of a dataset's classes, in whatever form the dataset carries them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from lightning_posttrain.core.capture.foreign import attribute

DEEPEST = 16
"""Datasets inside datasets that are looked into."""


class Naming(NamedTuple):
    """Names, or None; and why there are none, where the dataset has something of the kind, else ""."""

    names: tuple[str, ...] | None = None
    why: str = ""


def naming_of(dataset: Any, num_classes: int | None = None) -> Naming:
    """The names in ``dataset.classes``, as torchvision's and many other datasets carry them.

    A list, tuple or array of names; of tuples of synonyms, of which the first is taken; a dict from names to indices,
    or from indices to names. Subsets are looked through, and of a ``ConcatDataset`` all parts must agree. A name that
    comes twice gets its index behind it.

    Args:
        dataset: any object; what its attribute raises costs nothing.
        num_classes: how many there must be; None for any number.

    Example:
        >>> from types import SimpleNamespace
        >>> naming_of(SimpleNamespace(classes={"cat": 1, "dog": 0})).names
        ('dog', 'cat')
        >>> naming_of(SimpleNamespace(classes=[("crane", "bird"), ("crane", "machine")])).names
        ('crane (0)', 'crane (1)')
    """
    try:
        found = _classes(dataset)
        names = None if found is None else _listed(found)
    except Exception as error:  # a property of somebody else's, which may do anything
        return Naming(why=f"`dataset.classes` raises {type(error).__name__}: {error}")
    if found is None:
        return Naming()
    if names is None:
        return Naming(why=f"`dataset.classes` is a {type(found).__name__} that does not name classes one by one")
    if num_classes not in (None, len(names)):
        return Naming(why=f"`dataset.classes` has {len(names)} names, and there are {num_classes} classes")
    return Naming(distinct_names(names))


def _classes(dataset: Any) -> Any:
    """The attribute, of the dataset or of what it wraps; None where there is none."""
    for _ in range(DEEPEST):
        classes = attribute(dataset, "classes")
        inner = attribute(dataset, "dataset") if classes is None else None  # a Subset, as of random_split
        if inner is None:
            break
        dataset = inner
    parts = attribute(dataset, "datasets") if classes is None else None
    if not isinstance(parts, Sequence):
        return classes
    found = [_classes(part) for part in parts]
    if not found or any(one is None for one in found):
        return None
    if len({_listed(one) for one in found}) > 1:
        raise ValueError("the parts of the ConcatDataset name their classes differently")
    return found[0]


def _listed(classes: Any) -> tuple[str, ...] | None:
    """Names in the order of the classes; None where that is not what it is."""
    if isinstance(classes, Mapping):
        return _of_mapping(classes)
    listed = classes.tolist() if hasattr(classes, "tolist") else classes  # arrays, tensors, columns of a table
    if not isinstance(listed, (list, tuple)) or not listed:
        return None
    return tuple(_first(one) for one in listed)


def _of_mapping(classes: Mapping[Any, Any]) -> tuple[str, ...] | None:
    pairs = [(index, name) for name, index in classes.items()]
    if not _numbers(index for index, _ in pairs):
        pairs = list(classes.items())
    if not pairs or not _numbers(index for index, _ in pairs):
        return None
    return tuple(_first(name) for _, name in sorted(pairs, key=lambda pair: int(pair[0])))


def _numbers(values: Iterable[Any]) -> bool:
    """Whether they are 0 to one less than how many there are, each once."""
    found = list(values)
    return all(hasattr(v, "__index__") for v in found) and sorted(map(int, found)) == list(range(len(found)))


def _first(name: Any) -> str:
    """The first of synonyms."""
    return str(name[0]) if isinstance(name, (list, tuple)) and name else str(name)


def distinct_names(names: Sequence[str]) -> tuple[str, ...]:
    """Names of which each comes once: those that come twice, or are empty, with their index.

    Example:
        >>> distinct_names(["crane", "owl", "crane"])
        ('crane (0)', 'owl', 'crane (2)')
    """
    counts: dict[str, int] = {}
    for name in names:
        counts[name] = counts.get(name, 0) + 1
    made = tuple(
        f"{name} ({k})".strip() if counts[name] > 1 or not name.strip() else name for k, name in enumerate(names)
    )
    return made if len(set(made)) == len(made) else tuple(f"{name} ({k})" for k, name in enumerate(names))
