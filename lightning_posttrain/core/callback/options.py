"""How the options of callbacks are checked."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


def one_of(argument: str, value: object, allowed: tuple[str, ...]) -> None:
    """Raise ``ValueError`` where ``value`` is not allowed for ``argument``."""
    if value not in allowed:
        raise ValueError(f"`{argument}` is {value!r}, wanted {' or '.join(map(repr, allowed))}.")


def hashable(argument: str, value: object) -> None:
    """Raise ``ValueError`` where ``value`` cannot tell equal requests from others."""
    if value is not None and type(value).__hash__ is None:
        raise ValueError(f"`{argument}` is a {type(value).__name__} without a hash; pass a function.")


def at_least(argument: str, value: float, least: float) -> None:
    """Raise ``ValueError`` where ``value`` is too small for ``argument``."""
    if value < least:
        raise ValueError(f"`{argument}` is {value}, wanted at least {least}.")


def finite(argument: str, value: object) -> None:
    """Raise ``ValueError`` where ``value`` is no finite number."""
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not math.isfinite(value):
        raise ValueError(f"`{argument}` is {value!r}, wanted a finite number.")


def by_metric(argument: str, value: object, example: str) -> None:
    """Raise ``ValueError`` where ``value`` is no mapping from names of metrics."""
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise ValueError(f"`{argument}` is {value!r}, wanted a dict by the names of metrics, as {example}.")


def split(options: Mapping[str, object], *kinds: type) -> list[dict[str, Any]]:
    """The options that each kind, a ``TypedDict``, names, and at last the others.

    Example:
        >>> from typing import TypedDict
        >>> split({"size": 2, "ink": "red"}, TypedDict("Paper", {"size": int}))
        [{'size': 2}, {'ink': 'red'}]
    """
    given = dict(options)
    found = [{key: given.pop(key) for key in kind.__annotations__ if key in given} for kind in kinds]
    return [*found, given]
