"""The tensors of a batch by where they stand in it, and which of them a tensor of the step is."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, is_dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from lightning_posttrain.core.capture.leaves import named_parts
from lightning_posttrain.core.capture.memory import is_of

Path = tuple[Any, ...]
DEPTH = 4
WIDE = 64
"""Entries of a list that are looked into, at most."""


def parts_of(batch: Any) -> dict[Path, Tensor]:
    """Every tensor in a batch by the keys, positions and attributes that lead to it.

    Example:
        >>> list(parts_of({"x": torch.zeros(2), "more": (torch.zeros(2), 3)}))
        [('x',), ('more', 0)]
    """
    return dict(_walk(batch, (), DEPTH))


def _walk(value: Any, path: Path, depth: int) -> Iterator[tuple[Path, Tensor]]:
    if isinstance(value, Tensor):
        yield path, value
    elif depth:
        for key, part in list(members(value).items())[:WIDE]:
            yield from _walk(part, (*path, key), depth - 1)


def members(value: Any) -> Mapping[Any, Any]:
    """What a collection or an object holds; nothing for numbers, texts and functions."""
    found = named_parts(value)
    if found or value is None or isinstance(value, (str, bytes, int, float, nn.Module, type)):
        return found
    try:  # whatever the properties of a stranger's class do
        if callable(getattr(value, "keys", None)) and hasattr(value, "__getitem__"):
            return {key: value[key] for key in value.keys()}  # noqa: SIM118 - no mapping, as a graph of PyG
        if callable(value):
            return found
        return {key: part for key, part in vars(value).items() if not key.startswith("_")}
    except Exception:
        return {}


def replaced(value: Any, new: Mapping[Path, Any]) -> Any:
    """A collection or an object with other tensors at some paths; the rest is its own."""
    if () in new:
        return new[()]
    heads = {path[0] for path in new}
    below = {key: {path[1:]: one for path, one in new.items() if path[0] == key} for key in heads}
    if isinstance(value, tuple) and hasattr(value, "_replace"):
        return value._replace(**{key: replaced(getattr(value, key), rest) for key, rest in below.items()})
    if isinstance(value, (tuple, list)):
        return type(value)(replaced(one, below[i]) if i in below else one for i, one in enumerate(value))
    if isinstance(value, dict):
        return {**value, **{key: replaced(value[key], rest) for key, rest in below.items()}}
    other, by_name = copy.copy(value), is_dataclass(value) and not isinstance(value, Mapping)
    for key, rest in below.items():
        if by_name:  # also where it is frozen; made anew by its constructor it might be another
            object.__setattr__(other, key, replaced(getattr(value, key), rest))
        elif hasattr(value, "__setitem__"):
            other[key] = replaced(value[key], rest)
        else:
            setattr(other, key, replaced(getattr(value, key), rest))
    return other


def cloned(value: Any) -> Any:
    """A collection or an object with copies of its tensors."""
    return replaced(value, {path: tensor.clone() for path, tensor in parts_of(value).items()})


def name_of(path: Path) -> str:
    """What a part is called in tags: its key, or its number where it has none.

    Example:
        >>> name_of(("labels", "species")), name_of((1,)), name_of(("labels", 0))
        ('species', 'target_1', 'labels_0')
    """
    last = max((i for i, key in enumerate(path) if isinstance(key, str)), default=-1)
    words = path[last:] if last >= 0 else ("target", *path)
    return "_".join(map(str, words))


def said(path: Path) -> str:
    """A part in the words of a message.

    Example:
        >>> said(("labels", 0))
        "batch['labels'][0]"
    """
    return "batch" + "".join(f"[{key!r}]" for key in path)


@dataclass(frozen=True)
class PartSource:
    """Which part of a batch a tensor is.

    Args:
        path: of the part.
        form: ``"same"``: its values, perhaps in another shape or type. ``"one-hot"``: one is the one-hot form of the
            other. ``"column"``: one of its columns. ``"rows"``: some of its rows. ``"derived"``: equal values of it
            give equal ones.
        rows: path of the mask, or of the positions, that choose rows; None where they follow each other.
        at: number of the column, or of the first of rows that follow each other.
    """

    path: Path
    form: Literal["same", "one-hot", "column", "rows", "derived"]
    rows: Path | None = None
    at: int = 0

    def of(self, parts: Mapping[Path, Tensor]) -> Tensor | None:
        """The same of another batch; None where it is only made of a part, or how many rows it has stands nowhere."""
        if self.form == "derived" or self.path not in parts:
            return None
        part = parts[self.path]
        if self.form == "column":
            return part[:, self.at]
        if self.form != "rows":
            return part
        return None if self.rows is None or self.rows not in parts else part[parts[self.rows]]


def locate(tensor: Tensor, parts: Mapping[Path, Tensor]) -> PartSource | None:
    """Which part of a batch a tensor is: the same memory, else the same values, else what can be made of one.

    Values are read on the host.
    """
    if not tensor.numel():
        return None
    near = {path: part for path, part in parts.items() if part.layout == torch.strided and not part.is_nested}
    ways: tuple[tuple[Literal["same", "one-hot"], Callable[[Tensor, Tensor], bool]], ...]
    ways = (("same", is_of), ("same", _same_values), ("one-hot", _one_hot_of))
    for form, alike in ways:
        for path, part in near.items():
            if alike(tensor, part):
                return PartSource(path, form)
    return _column(tensor, near) or _selection(tensor, near) or _derived(tensor, near)


def _same_values(tensor: Tensor, part: Tensor) -> bool:
    """Whether a part has the same values, whatever its type; where it has none (NaN) any will do."""
    if part.numel() != tensor.numel() or part.device != tensor.device or part.is_complex():
        return False
    values, given = tensor.detach().reshape(-1).double(), part.detach().reshape(-1).double()
    missing = given.isnan()
    return bool(((values == given) | missing).all()) and not bool(missing.all())


def _one_hot_of(tensor: Tensor, part: Tensor) -> bool:
    """Whether one of them is the one-hot form ``(N, C)`` of the other ``(N,)``."""
    wide, narrow = (tensor, part) if tensor.ndim == 2 else (part, tensor)
    if wide.ndim != 2 or wide.shape[1] < 2 or narrow.shape[:1] != wide.shape[:1] or narrow.numel() != len(wide):
        return False
    return is_one_hot(wide) and bool((wide.argmax(1) == narrow.reshape(-1)).all())


def is_one_hot(tensor: Tensor) -> bool:
    """Whether there is, along the second dimension, a single 1 and else nothing."""
    return bool((((tensor == 1).sum(1) == 1) & ((tensor != 0).sum(1) == 1)).all())


def _column(tensor: Tensor, parts: Mapping[Path, Tensor]) -> PartSource | None:
    """One of the columns of a part ``(N, K)``."""
    for path, part in parts.items():
        if part.ndim == 2 and tensor.shape in (part.shape[:1], (*part.shape[:1], 1)) and 1 < part.shape[1] <= WIDE:
            same = (k for k in range(part.shape[1]) if _same_values(tensor, part[:, k]))
            found = next(same, None)
            if found is not None:
                return PartSource(path, "column", at=found)
    return None


def _selection(tensor: Tensor, parts: Mapping[Path, Tensor]) -> PartSource | None:
    """Some rows of a part: by a mask or positions that stand in the batch, or some that follow each other."""
    for path, part in parts.items():
        if part.ndim == tensor.ndim >= 1 and part.shape[1:] == tensor.shape[1:] and len(part) > len(tensor):
            for by, rows in parts.items():
                chosen = part[rows] if by != path and _chooses(rows, part, len(tensor)) else None
                if chosen is not None and _same_values(tensor, chosen):
                    return PartSource(path, "rows", by)
            first = _first_row(tensor, part)
            if _same_values(tensor, part[first : first + len(tensor)]):
                return PartSource(path, "rows", at=first)
    return None


def _first_row(tensor: Tensor, part: Tensor) -> int:
    """Which row of a part a tensor begins at, where it is a view of it."""
    apart = tensor.data_ptr() - part.data_ptr()
    row = part.stride(0) * part.element_size()
    inside = (
        tensor.dtype == part.dtype and row > 0 and 0 <= apart <= row * (len(part) - len(tensor)) and not apart % row
    )
    return apart // row if inside else 0


def _chooses(rows: Tensor, part: Tensor, count: int) -> bool:
    """Whether a part of the batch can choose so many rows of another."""
    if rows.ndim != 1 or rows.device != part.device:
        return False
    if rows.dtype == torch.bool:
        return len(rows) == len(part) and int(rows.sum()) == count
    inside = rows.dtype == torch.int64 and len(rows) == count
    return inside and bool(((rows >= 0) & (rows < len(part))).all())


def _derived(tensor: Tensor, parts: Mapping[Path, Tensor]) -> PartSource | None:
    """A part of whole numbers of which the tensor is a function, as ``y - 1`` or ``y > 3`` are of ``y``."""
    flat = tensor.detach().reshape(-1)
    for path, part in parts.items():
        if part.numel() != flat.numel() or part.device != flat.device or part.is_complex():
            continue
        kinds, which = torch.unique(part.detach().reshape(-1), return_inverse=True)
        if 1 < len(kinds) < len(flat):
            first = torch.full((len(kinds),), -1, device=flat.device)
            first[which.flip(0)] = torch.arange(len(flat), device=flat.device).flip(0)
            if bool((flat[first[which]] == flat).all()) and bool((flat != flat[0]).any()):
                return PartSource(path, "derived")
    return None
