"""Targets and inputs as the parts of a batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lightning_posttrain.core.capture.batch_parts import name_of, parts_of

INPUT_KEYS = ("inputs", "input", "x", "images", "image", "img", "pixel_values", "features", "data")
TARGET_KEYS = ("targets", "target", "labels", "label", "y", "classes", "class", "mask", "masks")


def find_target(batch: Any, target_fn: Callable[[Any], Any] | None, name: str | None = None) -> Any:
    """The targets of a batch: ``target_fn(batch)``, the part of a name, the second of a tuple, or a dict's usual key.

    Raises:
        ValueError: none of these is there, or more than one thing could be meant.
    """
    if target_fn is not None:
        return _by("target_fn", target_fn, batch)
    if name is not None:
        return _named(batch, name)
    others = _rivals(batch)
    if others:
        raise ValueError(f"targets could be {' or '.join(others)} of a batch. Pass target_fn=lambda batch: ...")
    found = _part(batch, TARGET_KEYS, 1)
    if found is None:
        raise ValueError(
            f"no targets found in a batch that is {describe(batch)}; wanted (inputs, target) or a dict with one "
            f"of {', '.join(TARGET_KEYS)}. Pass target_fn=lambda batch: ..."
        )
    return found


def _by(argument: str, function: Callable[[Any], Any], batch: Any) -> Any:
    """What a user's function finds in a batch."""
    try:
        return function(batch)
    except Exception as error:
        raise ValueError(
            f"`{argument}` raised {type(error).__name__}: {error}. Its argument is the batch, here {describe(batch)}."
        ) from error


def _named(batch: Any, name: str) -> Tensor:
    parts = {name_of(path): part for path, part in parts_of(batch).items()}
    if name not in parts:
        raise ValueError(
            f"`target` is {name!r}, wanted one of {', '.join(map(repr, parts)) or 'the parts of a batch'}."
        )
    return parts[name]


def find_inputs(batch: Any, inputs_fn: Callable[[Any], Any] | None) -> Any:
    """The inputs of a batch, found like its targets; None where nothing says which they are."""
    return _part(batch, INPUT_KEYS, 0) if inputs_fn is None else _by("inputs_fn", inputs_fn, batch)


def find_only_inputs(batch: Any, inputs_fn: Callable[[Any], Any] | None) -> Any:
    """The inputs of a batch that may have no targets: itself, or its only part."""
    if inputs_fn is None and isinstance(batch, Tensor):
        return batch
    if inputs_fn is None and isinstance(batch, (tuple, list)) and len(batch) == 1:
        return batch[0]
    return find_inputs(batch, inputs_fn)


def _part(batch: Any, keys: Sequence[str], position: int) -> Any:
    if isinstance(batch, Mapping):
        return next((batch[key] for key in keys if key in batch), None)
    if isinstance(batch, (tuple, list)) and len(batch) >= 2:
        return batch[position]
    return None


def _rivals(batch: Any) -> list[str]:
    """What could be the targets, where that is more than one thing."""
    if isinstance(batch, Mapping):
        found = {repr(key): batch[key] for key in TARGET_KEYS if isinstance(batch.get(key), Tensor)}
    elif isinstance(batch, (tuple, list)) and len(batch) > 2:
        found = {f"position {i}": part for i, part in enumerate(batch) if i and _indices(part)}
    else:
        return []
    return list(found) if len({id(part) for part in found.values()}) > 1 else []


def _indices(value: Any) -> bool:
    return isinstance(value, Tensor) and value.ndim == 1 and value.dtype in (torch.int64, torch.int32)


def describe_inputs(inputs: Any) -> str:
    """Inputs that cannot be used, or none, in the words of a message."""
    return "not found in the batch" if inputs is None else describe(inputs)


def describe(value: Any) -> str:
    """A value in the words of an error message: shapes for tensors, keys for dicts."""
    if isinstance(value, Tensor):
        return f"a tensor {tuple(value.shape)}"
    if isinstance(value, Mapping):
        return f"a dict with keys {', '.join(map(str, value))}"
    if isinstance(value, (tuple, list)):
        return f"a {type(value).__name__} of {len(value)}"
    return "None" if value is None else f"a {type(value).__name__}"
