"""What may be tried, as users write it, as plain values for files, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple


class Range(NamedTuple):
    """Numbers from ``low`` to ``high``, both taken in; ``whole`` for integers, ``log`` where factors count."""

    low: float
    high: float
    log: bool
    whole: bool


def range_of(wanted: Any) -> Range | None:
    """The range of numbers that a tuple says; None where choices are listed.

    Example:
        >>> range_of((0.001, 1.0, "log")), range_of([16, 32])
        (Range(low=0.001, high=1.0, log=True, whole=False), None)
    """
    if not isinstance(wanted, tuple):
        return None
    low, high = wanted[:2]
    return Range(low, high, "log" in wanted[2:], isinstance(low, int) and isinstance(high, int))


def described_space(space: Mapping[str, Any]) -> dict[str, Any]:
    """A space as plain values, in which a range and choices are told apart."""
    return {name: _described(wanted) for name, wanted in space.items()}


def _described(wanted: Any) -> dict[str, Any]:
    found = range_of(wanted)
    return {"choices": list(wanted)} if found is None else {"low": found.low, "high": found.high, "log": found.log}


def space_of(described: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The space that ``described_space`` was given.

    Example:
        >>> space = {"lr": (0.001, 1.0, "log"), "width": [16, 32], "depth": (1, 4)}
        >>> space_of(described_space(space)) == space
        True
    """
    return {name: _wanted(said) for name, said in described.items()}


def _wanted(said: Mapping[str, Any]) -> Any:
    if "choices" in said:
        return list(said["choices"])
    return (said["low"], said["high"], *(["log"] if said["log"] else []))


def distinct(values: Sequence[Any]) -> list[Any]:
    """Each value once, in their order; ``True`` is not 1."""
    found: list[Any] = []
    for value in values:
        if not any(type(value) is type(other) and value == other for other in found):
            found.append(value)
    return found
