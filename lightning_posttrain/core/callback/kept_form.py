"""Of what form the parts of a state are that a callback finds in a checkpoint: checked before they are believed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor


def dict_of(value: Any, what: str) -> dict[str, Any]:
    """A value of a state that is to be a dict by names.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
        raise ValueError(f"{what} is a {type(value).__name__}, wanted a dict by names.")
    return value


def number_of(state: Mapping[str, Any], name: str, kind: type[int] | type[float], *, least: float = -math.inf) -> Any:
    """A number of a state.

    Raises:
        ValueError: it is missing, of another type, or too small.
    """
    value = state.get(name)
    if isinstance(value, bool) or not isinstance(value, (int, kind)) or value < least:
        wanted = "a whole number" if kind is int else "a number"
        bound = "" if least == -math.inf else f" of {least:g} or more"
        raise ValueError(f"{name!r} is {value!r}, wanted {wanted}{bound}.")
    return value


def on_cpu(value: Any) -> Any:
    """A value of a state, with its tensors on the CPU at any depth.

    Raises:
        ValueError: a tensor holds no values.
    """
    if isinstance(value, Tensor):
        if value.is_meta:
            raise ValueError("a tensor is on the device meta, which holds no values.")
        return value.detach().cpu()
    if isinstance(value, dict):
        return {name: on_cpu(item) for name, item in value.items()}
    return [on_cpu(item) for item in value] if isinstance(value, list) else value
